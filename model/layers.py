"""Parts that several systems share: the classifier, and loading trained weights."""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.model.draws import Generator, dropout


class Classifier(nn.Module):
    """Two hidden layers, each linear, ReLU, dropout; then a linear layer to the classes."""

    def __init__(self, inputs: int, classes: int, *, hidden: int = 128, dropout_rate: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)])
        self.output = nn.Linear(hidden, classes)
        self.dropout_rate = dropout_rate

    def forward(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Logits (..., classes) of joint representations (..., inputs)."""
        for layer in self.layers:
            x = dropout(F.relu(layer(x)), self.dropout_rate, generator)
        logits: Tensor = self.output(x)
        return logits


def load_weights(network: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    """Copy trained weights into a network, and set it to evaluation mode."""
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    network.eval()
