"""What is to be computed: configuration, hyperparameters, plan. No Ray, no MLflow, no PyTorch."""
