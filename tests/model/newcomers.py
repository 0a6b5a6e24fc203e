"""Systems as somebody would add them, small and not in the package: what the framework must get right, or refuse."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples, availability
from ifmmin.data.conditions import Condition, all_conditions, full_condition
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System, Upstream
from ifmmin.model.draws import Generator, draw_availability, dropout_over_time
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.layers import load_weights

HIDDEN = 8


def means(batch: Batch, conditions: Sequence[Condition]) -> Tensor:
    """Mean features over time, zeros where a modality is missing, (conditions, batch, features of all modalities)."""
    parts = [batch.features[m].sum(1) / batch.lengths[m][:, None] for m in batch.letters]
    masks = availability(conditions, batch.letters, batch.labels.device)
    return torch.stack(
        [torch.cat([part * there for part, there in zip(parts, mask, strict=True)], 1) for mask in masks]
    )


class MeanNetwork(Network):
    """A body that reads mean features, and a linear layer to the classes."""

    def __init__(self, shape: Shape, body: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        self.selection = (shape.full,)
        features = sum(shape.dimensions.values())
        self.body = body(features) if body else nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU())
        self.output = nn.Linear(HIDDEN, shape.classes)

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        inputs = means(batch, conditions)
        logits: Tensor = self.output(self.body(inputs.flatten(0, 1)))
        return logits.view(*inputs.shape[:2], -1)


class Classification(Objective):
    """Cross-entropy under the selection conditions, called by a name of its own."""

    def forward(self, batch: Batch, generator: Generator) -> Losses:  # noqa: ARG002
        logits = self.network.logits(batch, self.network.selection)
        error = F.cross_entropy(logits.flatten(0, 1), batch.labels.repeat(len(logits)))
        return Losses(error, {"error": error})


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(TrainingHyperparameters):
    """Those of all systems here."""


def define(name: str, network: Callable[[Shape, Any], Network], **changes: Any) -> StageDefinition:
    """A definition that minimises cross-entropy."""
    definition = StageDefinition(
        name=name, version=1, hyperparameters=Hyperparameters, network=network, objective=Classification
    )
    return replace(definition, **changes)


def system_of(definition: StageDefinition, *needs: str) -> System:
    """The definition as the one stage of a system of its name."""
    return System(definition.name, "Made in a test", {"train": definition}, needs=needs)


# A mixture of three experts, each trained alone first.


class Expert(MeanNetwork):
    """Sees one modality."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        assert shape.condition is not None
        self.selection = (shape.condition,)


class Mixture(Network):
    """Three experts that are kept as they are, and weights for their logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.selection = shape.conditions
        self.experts = nn.ModuleDict({m: Expert(replace(shape, condition=Condition(m))) for m in shape.letters})
        self.experts.requires_grad_(False)
        self.gate = nn.Parameter(torch.ones(len(shape.letters)))

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        experts = [cast(Expert, self.experts[m]).logits(batch, conditions) for m in self.experts]
        masks = availability(conditions, batch.letters, batch.labels.device)
        shares = self.gate.masked_fill(~masks, -torch.inf).softmax(1)
        logits: Tensor = (torch.stack(experts, -1) * shares[:, None, None]).sum(-1)
        return logits


class MixtureObjective(Classification):
    """Takes over all experts."""

    def __init__(self, network: Mixture, hyperparameters: Any, examples: Examples, upstream: Upstream) -> None:
        super().__init__(network, hyperparameters, examples, upstream)
        for modality in network.experts:
            load_weights(network.experts[modality], upstream[f"expert-{modality}"])


EXPERTS = System(
    "experts",
    "A mixture of three experts",
    {
        "expert": define(
            "expert",
            lambda shape, _: Expert(shape),
            conditions="single",
            stackable=True,
        ),
        "train": define(
            "mixture", lambda shape, _: Mixture(shape), objective=MixtureObjective, after=("expert",), stackable=True
        ),
    },
)


# Normalisation over the batch, whose running statistics are buffers.


def normalised(features: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU())


BATCH_NORM = system_of(define("batch-norm", lambda shape, _: MeanNetwork(shape, normalised), stackable=True))


# A teacher that is kept beside the network, with buffers.


class Distillation(Classification):
    """Cross-entropy, and the distance to the logits of a frozen teacher."""

    def __init__(self, network: Network, hyperparameters: Any, examples: Examples, upstream: Upstream) -> None:
        super().__init__(network, hyperparameters, examples, upstream)
        self.teacher = MeanNetwork(Shape.of(examples), normalised).to(examples.device)
        load_weights(self.teacher, upstream["teach"])
        self.teacher.requires_grad_(False)

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        losses = super().forward(batch, generator)
        full = (full_condition(batch.letters),)
        distance = F.mse_loss(self.network.logits(batch, full), self.teacher.logits(batch, full))
        return Losses(losses.total + distance, {**losses.terms, "distance": distance})


DISTILLED = System(
    "distilled",
    "A teacher and its student",
    {
        "teach": BATCH_NORM.stages["train"],
        "train": define(
            "student", lambda shape, _: MeanNetwork(shape), objective=Distillation, after=("teach",), stackable=True
        ),
    },
)


# A word and a boolean.


@dataclass(frozen=True, kw_only=True)
class WordHyperparameters(TrainingHyperparameters):
    activation: str = hyperparameter("relu", "activation of the hidden layer", choices=("relu", "tanh"))
    wide: bool = hyperparameter(False, "whether the hidden layer is followed by another")


def build_from_words(shape: Shape, hyperparameters: WordHyperparameters) -> Network:
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[hyperparameters.activation]
    more = [nn.Linear(HIDDEN, HIDDEN), activation()] if hyperparameters.wide else []
    return MeanNetwork(shape, lambda features: nn.Sequential(nn.Linear(features, HIDDEN), activation(), *more))


WORDS = system_of(define("words", build_from_words, hyperparameters=WordHyperparameters, stackable=True))


# A plain transformer, whose attention does not stack.


class Transformer(MeanNetwork):
    """Attends over the text."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__(shape)
        self.read = nn.Linear(shape.dimensions["t"], HIDDEN)
        self.layer = nn.TransformerEncoderLayer(HIDDEN, 2, 16, dropout, batch_first=True)

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        x, lengths = batch.features["t"], batch.lengths["t"]
        padded = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        attended = self.layer(self.read(x), src_key_padding_mask=padded)
        pooled = attended.masked_fill(padded[..., None], 0).sum(1) / lengths[:, None]
        text = self.output(pooled)
        there = availability(conditions, batch.letters, x.device)[:, -1]
        logits: Tensor = super().logits(batch, conditions) + there[:, None, None] * text
        return logits


TRANSFORMER = system_of(define("plain-transformer", lambda shape, _: Transformer(shape)), "t")


# Draws over time, a bare parameter, other conditions, a child without parameters, and another optimizer.


class OverTime(MeanNetwork):
    """Adds the mean of the acoustic frames after dropout, scaled by a parameter of its own."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.activation = nn.ReLU()
        self.scale = nn.Parameter(torch.ones(HIDDEN))
        self.read = nn.Linear(shape.dimensions["a"], HIDDEN)

    def losses(self, batch: Batch, generator: Generator) -> Losses:
        frames = dropout_over_time(batch.features["a"], 0.5, generator)
        available = draw_availability(batch, generator, all_conditions(batch.letters))
        logits = self._of_frames(frames, batch) * available[:, :1] + self.output(
            self.body(means(batch, self.selection)[0])
        )
        error = F.cross_entropy(logits, batch.labels)
        return Losses(error, {"error": error})

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        there = availability(conditions, batch.letters, batch.labels.device)[:, :1, None]
        return super().logits(batch, conditions) + there * self._of_frames(batch.features["a"], batch)

    def _of_frames(self, frames: Tensor, batch: Batch) -> Tensor:
        there = torch.arange(frames.shape[1], device=frames.device) < batch.lengths["a"][:, None]
        pooled = (self.activation(self.read(frames)) * there[..., None]).sum(1) / batch.lengths["a"][:, None]
        logits: Tensor = self.output(pooled * self.scale)
        return logits


class OverTimeObjective(Objective):
    network: OverTime

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        return self.network.losses(batch, generator)


def momentum(parameters: Any, hyperparameters: TrainingHyperparameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, hyperparameters.learning_rate, momentum=0.9)


def halving(hyperparameters: TrainingHyperparameters, epoch: int) -> float:
    return hyperparameters.learning_rate * 0.5**epoch


OVER_TIME = system_of(
    define(
        "over-time",
        lambda shape, _: OverTime(shape),
        objective=OverTimeObjective,
        optimizer=momentum,
        schedule=halving,
        stackable=True,
    ),
    "a",
)

NEWCOMERS: Mapping[str, System] = {
    system.name: system for system in (EXPERTS, BATCH_NORM, DISTILLED, WORDS, TRANSFORMER, OVER_TIME)
}
