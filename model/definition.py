"""The definition of a system: the networks it trains one after the other, and their losses.

The training loop (`model.training`) and the evaluation (`model.evaluation`) work with any system defined in
these terms.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ifmmin.data.batches import Batch, Examples, Unit
from ifmmin.data.conditions import (
    Condition,
    ConditionSet,
    all_conditions,
    conditions_of,
    full_condition,
    missing_conditions,
)
from ifmmin.data.corpus import Corpus
from ifmmin.data.modalities import Modality, letters_of
from ifmmin.model.draws import Generator
from ifmmin.model.encoders import Encoders
from ifmmin.model.hyperparameters import HyperparameterValue, TrainingHyperparameters
from ifmmin.model.optimization import adam, constant_then_linear

Weights = Mapping[str, NDArray[Any]]
"""A trained network's parameters and buffers by name, as they travel between processes and lie in the store."""

Upstream = Mapping[str, Weights]
"""The weights of all stages that a stage comes after, by name.

Such a name is `pretrain`, or `train-a`, `train-v`, ... of a stage with a network for each condition.
"""


@dataclass(frozen=True)
class Shape:
    """What determines the form of a network: the corpus and, for a network of one condition, the condition.

    Attributes:
        modalities: of the corpus, in its order.
        dimensions: how many features each has, by letter.
        classes: how many there are.
        condition: of a network of one condition.
    """

    modalities: tuple[Modality, ...]
    dimensions: Mapping[str, int]
    classes: int
    condition: Condition | None = None

    @classmethod
    def of(cls, data: Corpus | Examples, condition: Condition | None = None) -> "Shape":
        """The shape for a corpus, or for a set of one."""
        classes = data.classes if isinstance(data, Examples) else len(data.classes)
        return cls(data.modalities, data.dimensions, classes, condition)

    @property
    def letters(self) -> tuple[str, ...]:
        """Those of the modalities, in their order."""
        return letters_of(self.modalities)

    @property
    def full(self) -> Condition:
        """The condition in which all modalities are available."""
        return full_condition(self.letters)

    @property
    def missing(self) -> tuple[Condition, ...]:
        """The conditions in which a modality is missing."""
        return missing_conditions(self.letters)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions: the missing ones, and then the full one."""
        return all_conditions(self.letters)


class Network(nn.Module, ABC):
    """A network that classifies utterances under missing conditions.

    It draws from no global state: dropout comes from `model.draws`, with the generator of the objective, and none in
    evaluation. What its constructor leaves to chance is initialised by `model.initialisation`, or by a method
    `initialise(self, generator)` of the network.
    """

    selection: tuple[Condition, ...]
    """The conditions under which validation chooses the epoch; a constructor takes them from the shape."""

    seeds_draws: ClassVar[bool] = False
    """Whether its objective seeds PyTorch's global random state for it, so that it may contain `nn.Dropout`."""

    def clipping_groups(self) -> list[list[nn.Parameter]]:
        """All parameters, each once, in groups whose gradients are clipped separately.

        The groups are those of every encoder, of every other child, and of the network itself.
        """
        groups: list[list[nn.Parameter]] = []
        for child in self.children():
            parts = child.children() if isinstance(child, Encoders) else [child]
            groups += [list(part.parameters()) for part in parts]
        groups.append([parameter for _, parameter in self.named_parameters(recurse=False)])
        first = {parameter: index for index, group in reversed(list(enumerate(groups))) for parameter in group}
        alone = [[parameter for parameter in group if first[parameter] == i] for i, group in enumerate(groups)]
        return [group for group in alone if group]

    @abstractmethod
    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""


class NetworkOfEachCondition(Network):
    """Networks of one condition each, used as one network for all their conditions."""

    def __init__(self, networks: Mapping[Condition, Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({str(condition): network for condition, network in networks.items()})
        self.selection = tuple(networks)

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), each condition's by its network."""
        return torch.cat(
            [cast(Network, self.networks[condition]).logits(batch, (condition,)) for condition in conditions]
        )


@dataclass(frozen=True)
class Losses:
    """What one step minimises, and the terms it is made of, unweighted, as scalars."""

    total: Tensor
    terms: Mapping[str, Tensor]


class Objective(nn.Module, ABC):
    """What a stage minimises.

    Whatever it needs for each training utterance it keeps in buffers, by row, so that the objectives of several runs
    can be computed as one.

    Args:
        network: what is trained, initialised; an objective may replace its weights by those of earlier stages.
        hyperparameters: of the stage.
        examples: the training set.
        upstream: the weights of all stages this one comes after.
    """

    def __init__(
        self,
        network: Network,
        hyperparameters: Any,
        examples: Examples,  # noqa: ARG002
        upstream: Upstream,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.network = network
        self.hyperparameters = hyperparameters

    @abstractmethod
    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of one training batch; the generator, on the batch's device, draws dropout and conditions."""


Optimizer: TypeAlias = Callable[[Iterable[nn.Parameter], Any], torch.optim.Optimizer]
"""Makes the optimizer of a network's parameters from a stage's hyperparameters."""

Schedule: TypeAlias = Callable[[Any, int], float]
"""The learning rate from a stage's hyperparameters and the 0-based epoch."""


@dataclass(frozen=True)
class StageDefinition:
    """One trained stage, shared by all systems that name it.

    Attributes:
        name: the name of the stage in keys, seeds and the store.
        version: raised by hand whenever a change of the code changes its results.
        hyperparameters: the class of its hyperparameters.
        network: builds the network for a corpus, its weights yet to be initialised.
        objective: what it minimises.
        after: the stages of the same system whose weights it starts from.
        conditions: those that have a network each, trained by a stage each: `all`, `missing`, or the `single` ones of
            one available modality; None if one network is for all.
        stackable: whether several runs can be trained as one, see `model.stacking`.
        unit: what batches are made of; with `dialogue`, a network finds in `Batch.dialogues` what belongs together, and
            `batch_size` counts dialogues.
        optimizer: of the network's parameters.
        schedule: of the learning rate.
        losses: titles of the objective's terms, for figures.
    """

    name: str
    version: int
    hyperparameters: type[TrainingHyperparameters]
    network: Callable[[Shape, Any], Network]
    objective: type[Objective]
    after: tuple[str, ...] = ()
    conditions: ConditionSet | None = None
    stackable: bool = False
    unit: Unit = "utterance"
    optimizer: Optimizer = adam
    schedule: Schedule = constant_then_linear
    losses: Mapping[str, str] = field(default_factory=dict)

    def networks(self, letters: Sequence[str]) -> tuple[Condition | None, ...]:
        """The condition of each of its networks on a corpus of these modalities; None for the one for all."""
        return conditions_of(self.conditions, letters) or (None,)

    def stage_names(self, stage: str, letters: Sequence[str]) -> list[str]:
        """The names within a run of all stages that this definition makes of a system's stage of that name."""
        return [stage if condition is None else f"{stage}-{condition}" for condition in self.networks(letters)]

    def make_hyperparameters(self, values: Mapping[str, HyperparameterValue]) -> TrainingHyperparameters:
        """Its hyperparameters with these values, by name.

        Raises:
            UserError: a value is of the wrong kind or out of bounds.
        """
        return self.hyperparameters(**values)  # type: ignore[arg-type]  # checked by the class


SearchRange: TypeAlias = tuple[float, float, bool] | tuple[str, ...]
"""Lowest and highest value and whether the scale is logarithmic, or the words to try."""


@dataclass(frozen=True)
class Embedding:
    """Features that a report shows in the plane.

    Attributes:
        title: names them, as in `invariant features`.
        meaning: what they are of an utterance under a condition, in a sentence.
        features: those of a batch under all conditions, (conditions, batch, features), by the trained networks of all
            stages.
    """

    title: str
    meaning: str
    features: Callable[[Mapping[str, Network], Batch], Tensor]


@dataclass(frozen=True)
class System:
    """A row of the comparison table.

    Attributes:
        stages: its trained stages by name, in order; the last one's network is evaluated.
        search_space: the hyperparameters to search unless a configuration says otherwise.
        featured_loss: the term that a report shows in a figure of its own.
        embedding: the features that a report shows in the plane.
        fewest_modalities: of a corpus on which the system makes sense; where none can be missing, few do.
        needs: the letters of modalities that a corpus must have, if networks read some by name.
    """

    name: str
    summary: str
    stages: Mapping[str, StageDefinition]
    search_space: Mapping[str, SearchRange] = field(default_factory=dict)
    featured_loss: str | None = None
    embedding: Embedding | None = None
    fewest_modalities: int = 2
    needs: tuple[str, ...] = ()
