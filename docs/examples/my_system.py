"""A complete system in one file: mean features over time, a classifier, and missing conditions drawn in training."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ifmmin.data.batches import Batch, availability
from ifmmin.data.conditions import Condition, all_conditions
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System
from ifmmin.model.draws import Generator, draw_availability
from ifmmin.model.hyperparameters import TrainingHyperparameters
from ifmmin.model.layers import Classifier
from ifmmin.model.systems import register


class MeanNetwork(Network):
    """A classifier on the means of the available modalities; a missing one is zeros."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.selection = shape.missing
        self.classifier = Classifier(sum(shape.dimensions.values()), shape.classes, dropout_rate=dropout)

    def forward(self, batch: Batch, available: Tensor, generator: Generator | None = None) -> Tensor:
        """Logits (batch, classes), with these modalities available, bool (batch, modalities)."""
        means = [batch.features[m].sum(1) / batch.lengths[m].clamp(min=1)[:, None] for m in batch.letters]
        kept = [mean * there[:, None] for mean, there in zip(means, available.T, strict=True)]
        logits: Tensor = self.classifier(torch.cat(kept, 1), generator)
        return logits

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        masks = availability(conditions, batch.letters, batch.labels.device)
        return torch.stack([self(batch, mask.expand(len(batch), -1)) for mask in masks])


class MeanObjective(Objective):
    """Cross-entropy, with a condition drawn for every utterance."""

    network: MeanNetwork

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        available = draw_availability(batch, generator, all_conditions(batch.letters))
        loss = F.cross_entropy(self.network(batch, available, generator), batch.labels)
        return Losses(loss, {"cls": loss})


TRAINING = StageDefinition(
    name="my-system",
    version=1,
    hyperparameters=TrainingHyperparameters,
    network=lambda shape, hyperparameters: MeanNetwork(shape, hyperparameters.dropout),
    objective=MeanObjective,
    losses={"cls": "classification"},
)
SYSTEM = register(System("my-system", "A classifier on mean features", {"train": TRAINING}))
