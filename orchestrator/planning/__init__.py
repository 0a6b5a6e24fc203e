"""Configuration, catalogue of the systems, plan and stages, as plain values and pure functions.

Not here: anything that computes or reads results. Neither Ray nor MLflow nor PyTorch is imported.
"""
