"""Hyperparameter search on Ray Tune and Optuna. Nothing else knows these two."""
