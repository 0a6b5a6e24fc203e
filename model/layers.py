"""Parts every network here is made of: the classifier, and how weights are initialised."""

import math
from collections.abc import Mapping

import numpy as np
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


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Linear and convolution weights kaiming-normal (fan-in, a = 0), biases 0; LSTMs as PyTorch does by default."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, a=0, mode="fan_in", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM | nn.LSTMCell):
            bound = 1 / math.sqrt(module.hidden_size)
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


def load_weights(network: nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Give a network weights that were trained before; they are copied."""
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
