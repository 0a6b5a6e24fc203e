"""How a network gets its first weights: from a generator alone, never from global state.

What a constructor sets by itself (zeros, ones, weights read from a file) is kept. What it leaves to chance is drawn
again: by the network's `initialise(generator)` if it has one, or else by `initialise` here.
"""

import math
from collections.abc import Container, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from ifmmin.data.errors import UserError
from ifmmin.model.definition import Network, Shape, StageDefinition
from ifmmin.model.hyperparameters import TrainingHyperparameters


@runtime_checkable
class InitialisesItself(Protocol):
    """A network with its own initialisation."""

    def initialise(self, generator: torch.Generator) -> None:
        """Set all that the constructor leaves to chance by draws from the generator."""


def build_network(
    definition: StageDefinition, shape: Shape, hyperparameters: TrainingHyperparameters, generator: torch.Generator
) -> Network:
    """The network of a stage with its first weights, which depend on the generator alone.

    It is built twice: what differs was left to chance, and must not differ once it is initialised.

    Raises:
        UserError: something that the constructor draws is not initialised.
    """
    with _chance_seen():
        network, other = (definition.network(shape, hyperparameters) for _ in range(2))
    if not isinstance(network, Network):
        raise UserError(f"{definition.name}: {type(network).__name__} must be a subclass of model.definition.Network.")
    random = set(_differing(network, other))
    state = generator.get_state()
    for built in (other, network):
        generator.set_state(state)
        if isinstance(built, InitialisesItself):
            with _chance_seen():
                built.initialise(generator)
        else:
            initialise(built, generator, random)
    for name in _differing(network, other):
        raise UserError(
            f"{definition.name}: {name} of {type(network).__name__} comes from PyTorch's global random state or is not "
            "set at all; set it in a method initialise(self, generator) of the network."
        )
    return network


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator, names: Container[str] | None = None) -> None:
    """Linear and convolution weights kaiming-normal (fan-in, a = 0), biases 0; recurrent and attention as in PyTorch.

    Args:
        names: of the parameters to initialise; by default all of these layers.
    """
    for prefix, layer in module.named_modules():
        for name, parameter in layer.named_parameters(prefix, recurse=False):
            if names is not None and name not in names:
                continue
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                if parameter.dim() > 1:
                    nn.init.kaiming_normal_(parameter, a=0, mode="fan_in", generator=generator)
                else:
                    nn.init.zeros_(parameter)
            elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
                bound = 1 / math.sqrt(layer.hidden_size)
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
            elif isinstance(layer, nn.MultiheadAttention) and parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter, generator=generator)


@torch.no_grad()
def initialise_linear_layers(module: nn.Module, generator: torch.Generator) -> None:
    """Weights and biases of linear layers as PyTorch draws them: uniform within 1 / sqrt(inputs)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            for parameter in layer.parameters(recurse=False):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


def _differing(network: nn.Module, other: nn.Module) -> Iterator[str]:
    """The names of parameters and buffers whose values are not equal."""
    others = dict(chain(other.named_parameters(), other.named_buffers()))
    for name, value in chain(network.named_parameters(), network.named_buffers()):
        if not torch.equal(value, others[name]):
            yield name


@contextmanager
def _chance_seen() -> Iterator[None]:
    """Leave the global random state as it is, and fill memory that nobody sets with NaN, which equals nothing."""
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
