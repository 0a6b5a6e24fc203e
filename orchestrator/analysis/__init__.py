"""Numbers from predictions: scores, statistics, calibration, robustness, subgroups, embeddings. No drawing, no Ray."""
