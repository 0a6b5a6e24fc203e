"""MLflow: experiments, searches, metrics and models, written from the driver alone. Nothing else knows MLflow."""
