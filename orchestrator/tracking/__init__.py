"""MLflow, written and read on the driver alone: the connection, experiments, searches, measurements and models.

Nothing else knows MLflow; what is written is made by `analysis`, `reporting` and `search`.
"""
