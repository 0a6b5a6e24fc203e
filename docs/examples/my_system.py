"""A complete system in one file: the means of the available features over time, and two layers."""

from typing import ClassVar

import torch
from torch import Tensor, nn


class MySystem(nn.Module):
    """Mean features and a hidden layer.

    Args:
        width: units of the hidden layer
        dropout: rate between the layers
    """

    training_defaults: ClassVar = {"epochs": 30, "learning_rate": 1e-3}

    def __init__(self, dimensions: dict[str, int], classes: int, width: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(sum(dimensions.values()) + len(dimensions), width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, classes),
        )

    def forward(self, features: dict[str, Tensor], lengths: dict[str, Tensor], available: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        means = [steps.sum(1) / lengths[letter][:, None] for letter, steps in features.items()]
        return self.layers(torch.cat([*means, available.float()], 1))
