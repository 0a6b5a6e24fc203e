"""Cross-validation of missing-modality emotion recognition models on Ray, with results in MLflow."""
