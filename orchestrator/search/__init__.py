"""Hyperparameter search on Ray Tune and Optuna: trials, space, costs and figures. Only this room knows the two.

Not here: the computing of stages, for which the driver asks the scheduler of `execution`, and MLflow.
"""
