"""Networks, losses and training loops; PyTorch only."""
