"""What a system is: the networks it trains one after the other, and with which losses.

The one training loop (`model.training`) and the one evaluation (`model.evaluation`) work with any network and recipe
described in these words.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ifmmin.data.batches import Batch, Examples
from ifmmin.data.conditions import Condition, Modality
from ifmmin.data.corpus import Corpus
from ifmmin.model.draws import Generator
from ifmmin.model.encoders import SpecificityEncoders
from ifmmin.model.hyperparameters import TrainingHyperparameters

Weights = Mapping[str, NDArray[np.float32]]
"""A trained network's parameters by name, as they travel between processes and lie in the store."""


@dataclass(frozen=True)
class Shape:
    """What determines the sizes of a network: the corpus, and the condition if the network is for that one alone."""

    dimensions: Mapping[Modality, int]
    classes: int
    condition: Condition | None = None

    @classmethod
    def of(cls, corpus: Corpus, condition: Condition | None = None) -> "Shape":
        return cls(corpus.dimensions, len(corpus.classes), condition)


class Network(nn.Module, ABC):
    """A network that classifies utterances under missing conditions. It is in evaluation mode whenever no generator is
    handed to it, so `train()` and `eval()` have no meaning here."""

    selection: tuple[Condition, ...]
    """The conditions under which validation chooses the epoch."""

    def sub_networks(self) -> list[nn.Module]:
        """The parts whose gradients are clipped each by itself: every encoder, and every other direct child."""
        parts: list[nn.Module] = []
        for child in self.children():
            parts += child.children() if isinstance(child, SpecificityEncoders) else [child]
        return parts

    @abstractmethod
    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""


class NetworkOfEachCondition(Network):
    """Networks for one condition each, used as one network for all of theirs."""

    def __init__(self, networks: Mapping[Condition, Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({str(condition): network for condition, network in networks.items()})
        self.selection = tuple(networks)

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        return torch.cat(
            [cast(Network, self.networks[condition]).logits(batch, (condition,)) for condition in conditions]
        )


@dataclass(frozen=True)
class Losses:
    """What one step minimises, and the terms it is made of, unweighted, as scalars."""

    total: Tensor
    terms: Mapping[str, Tensor]


class Objective(nn.Module, ABC):
    """What a stage minimises. What it needs of each utterance of the training set it keeps in buffers, by row, so that
    the objectives of several runs can be computed as one.

    Args:
        network: what is trained; all parameters are its own. It may first take over weights of the earlier stage.
        settings: the stage's hyperparameters.
        examples: the training set.
        weights: of the earlier stage, if there is one.
    """

    def __init__(self, network: Network, settings: Any, examples: Examples, weights: Weights | None) -> None:  # noqa: ARG002
        super().__init__()
        self.network = network
        self.settings = settings

    @abstractmethod
    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of one training batch; the generator, on the batch's device, draws dropout and conditions."""


@dataclass(frozen=True)
class StageDefinition:
    """One trained stage, shared by all systems that name it.

    Attributes:
        name: what the stage is called in keys, seeds and the store.
        version: raised by hand whenever a change of the code changes what comes out.
        parameters: the class of its hyperparameters.
        network: builds the network for a corpus, its weights yet to be initialised.
        objective: what it minimises.
        after: the stage of the same system whose weights it starts from.
        conditions: those that have a network of their own, trained by a stage of its own; none if one is for all.
    """

    name: str
    version: int
    parameters: type[TrainingHyperparameters]
    network: Callable[[Shape, Any], Network]
    objective: type[Objective]
    after: str | None = None
    conditions: tuple[Condition, ...] = ()

    def settings(self, values: Mapping[str, int | float]) -> TrainingHyperparameters:
        """Its hyperparameters with these values, by name.

        Raises:
            UserError: a value is out of its bounds.
        """
        return self.parameters(**values)  # type: ignore[arg-type]  # names are checked where they are read


@dataclass(frozen=True)
class System:
    """A row of the comparison table: trained stages by name, in order; the last one's network is evaluated."""

    name: str
    summary: str
    recipes: Mapping[str, StageDefinition]
