"""MLflow, written and read on the driver alone: the connection, experiments, searches, measurements and models.

Nothing else uses MLflow; the content comes from `analysis`, `reporting` and `search`.
"""
