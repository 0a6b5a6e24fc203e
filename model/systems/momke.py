"""MoMKE: a mixture of experts, each of which knows one modality (Xu et al., ACM MM 2024).

It reads utterances in the context of their dialogue. Written from its description; its program carries no licence.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples
from ifmmin.data.conditions import ALL_CONDITIONS, FULL_CONDITION, Condition
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System, Upstream
from ifmmin.model.draws import Generator, dropout
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.layers import load_weights

HEADS = 2


@dataclass(frozen=True, kw_only=True)
class MoMKEHyperparameters(TrainingHyperparameters):
    """Both stages: experts of one modality each, then a mixture of them for one condition."""

    epochs: int = hyperparameter(100, "passes over the training set", minimum=1)
    constant_epochs: int = hyperparameter(100, "epochs before the learning rate decays", minimum=0)
    batch_size: int = hyperparameter(16, "dialogues in a batch", minimum=1)
    learning_rate: float = hyperparameter(1e-4, "Adam's learning rate at the start", positive=True)
    weight_decay: float = hyperparameter(1e-5, "Adam's weight decay", minimum=0)
    gradient_clip: float = hyperparameter(1e6, "largest gradient norm; the authors do not clip", positive=True)
    dropout: float = hyperparameter(0.5, "dropout rate of inputs, experts and the joint representation", minimum=0, below=1)
    hidden: int = hyperparameter(256, "size of an expert's features, a multiple of 2", minimum=2)
    depth: int = hyperparameter(4, "layers of an expert", minimum=1)


class ExpertLayer(nn.Module):
    """Attention within a dialogue, without positions; the result y and a network of y are added to the input."""

    def __init__(self, hidden: int, dropout_rate: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.inner, self.outer = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.dropout_rate = dropout_rate

    def forward(self, x: Tensor, readable: Tensor, generator: Generator | None = None) -> Tensor:
        """Features (dialogues, utterances, hidden) after the layer; `readable`, bool, says which may be attended to."""
        query, key, value = (
            layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = (query @ key.mT / math.sqrt(query.shape[-1])).masked_fill(~readable[:, None, None], _NEVER)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        inner = dropout(F.gelu(self.inner(mixed)), self.dropout_rate, generator)
        return x + mixed + dropout(self.outer(inner), self.dropout_rate, generator)


_NEVER = -1e30
"""The score of an utterance that may not be read; finite, so that one without anybody to read is not NaN."""


class Expert(nn.Module):
    """The expert of one modality: layers of attention within a dialogue."""

    def __init__(self, hyperparameters: MoMKEHyperparameters) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [ExpertLayer(hyperparameters.hidden, hyperparameters.dropout) for _ in range(hyperparameters.depth)]
        )

    def forward(self, x: Tensor, readable: Tensor, generator: Generator | None = None) -> Tensor:
        """As of a layer."""
        for layer in self.layers:
            x = layer(x, readable, generator)
        return x


class Experts(nn.Module):
    """What both stages share: standardised means over time, a projection and an expert for each modality."""

    def __init__(self, shape: Shape, hyperparameters: MoMKEHyperparameters) -> None:
        super().__init__()
        sizes = shape.dimensions
        self.dropout_rate = hyperparameters.dropout
        self.projections = nn.ModuleDict({m: nn.Linear(size, hyperparameters.hidden) for m, size in sizes.items()})
        self.experts = nn.ModuleDict({m: Expert(hyperparameters) for m in sizes})
        for modality, size in sizes.items():
            self.register_buffer(f"mean_{modality}", torch.zeros(size))
            self.register_buffer(f"deviation_{modality}", torch.ones(size))

    @torch.no_grad()
    def standardise_for(self, examples: Examples) -> None:
        """Take mean and deviation from the utterances of a training set that have the modality."""
        for modality in self.projections:
            means = [_mean_over_time(batch, modality)[batch.lengths[modality] > 0] for batch in examples.batches(256)]
            utterances = torch.cat(means)
            deviation, mean = torch.std_mean(utterances, 0, correction=0)
            deviation[deviation < 1e-6] = 1
            self.get_buffer(f"mean_{modality}").copy_(mean)
            self.get_buffer(f"deviation_{modality}").copy_(deviation)

    def project(self, batch: Batch, modality: str, generator: Generator | None) -> Tensor:
        """The projection of a modality's standardised mean over time, (utterances, hidden)."""
        mean, deviation = self.get_buffer(f"mean_{modality}"), self.get_buffer(f"deviation_{modality}")
        vector = (_mean_over_time(batch, modality) - mean) / deviation
        return dropout(self.projections[modality](vector), self.dropout_rate, generator)


def _mean_over_time(batch: Batch, modality: str) -> Tensor:
    lengths = batch.lengths[modality]
    return batch.features[modality].sum(1) / lengths.clamp(min=1)[:, None]


@dataclass(frozen=True)
class Dialogues:
    """Where the utterances of a batch stand in their dialogues.

    Attributes:
        dialogue, place: of each utterance, int64 (utterances,).
        size: number of dialogues and length of the longest.
    """

    dialogue: Tensor
    place: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, batch: Batch) -> "Dialogues":
        """Those of a batch, whose dialogues are numbered from 0 and stand one after the other."""
        counts = torch.bincount(batch.dialogues)
        starts = counts.cumsum(0) - counts
        place = torch.arange(len(batch), device=counts.device) - starts[batch.dialogues]
        return cls(batch.dialogues, place, (len(counts), int(counts.max())))

    def pad(self, x: Tensor) -> Tensor:
        """Zero-padded dialogues, (dialogues, utterances, ...), of (utterances, ...)."""
        return x.new_zeros(*self.size, *x.shape[1:]).index_put((self.dialogue, self.place), x)

    def unpad(self, x: Tensor) -> Tensor:
        """The inverse of `pad`."""
        return x[self.dialogue, self.place]


class ExpertPretraining(Network):
    """Stage 1: every modality through its own expert, and a linear layer for each."""

    selection = (FULL_CONDITION,)

    def __init__(self, shape: Shape, hyperparameters: MoMKEHyperparameters) -> None:
        super().__init__()
        self.experts = Experts(shape, hyperparameters)
        self.outputs = nn.ModuleDict({m: nn.Linear(hyperparameters.hidden, shape.classes) for m in shape.dimensions})

    def forward(self, batch: Batch, generator: Generator | None = None) -> dict[str, Tensor]:
        """Logits (utterances, classes) of every modality, under full modality."""
        dialogues = Dialogues.of(batch)
        logits = {}
        for modality, output in self.outputs.items():
            readable = dialogues.pad(batch.lengths[modality] > 0)
            projected = dialogues.pad(self.experts.project(batch, modality, generator))
            logits[modality] = output(dialogues.unpad(self.experts.experts[modality](projected, readable, generator)))
        return logits

    def losses(self, batch: Batch, generator: Generator | None = None) -> Losses:
        """The cross-entropies of all modalities; each trains its own expert alone."""
        terms = {}
        for modality, logits in self(batch, generator).items():
            present = (batch.lengths[modality] > 0).to(logits.dtype)
            each = F.cross_entropy(logits, batch.labels, reduction="none")
            terms[modality] = (each * present).sum() / present.sum().clamp(min=1)
        return Losses(torch.stack(list(terms.values())).sum(), terms)

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes): the mean over the available modalities."""
        logits = self(batch)
        return torch.stack([torch.stack([logits[m] for m in condition.available]).mean(0) for condition in conditions])


class MoMKE(Network):
    """Stage 2, for one condition: routers weight all experts' views of each available modality."""

    def __init__(self, shape: Shape, hyperparameters: MoMKEHyperparameters) -> None:
        super().__init__()
        assert shape.condition is not None
        self.condition, self.selection = shape.condition, (shape.condition,)
        hidden, modalities = hyperparameters.hidden, len(shape.dimensions)
        self.experts = Experts(shape, hyperparameters)
        self.routers = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, modalities)) for m in shape.dimensions}
        )
        self.joint = nn.Linear(modalities * hidden, modalities * hidden)
        self.output = nn.Linear(modalities * hidden, shape.classes)
        self.dropout_rate = hyperparameters.dropout

    def forward(self, batch: Batch, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """The joint representation, (utterances, modalities x hidden), and logits, (utterances, classes)."""
        dialogues = Dialogues.of(batch)
        x = torch.cat([self._mixture(batch, modality, dialogues, generator) for modality in self.routers], -1)
        joint = x + dropout(F.relu(self.joint(x)), self.dropout_rate, generator)
        return joint, self.output(joint)

    def _mixture(self, batch: Batch, modality: str, dialogues: Dialogues, generator: Generator | None) -> Tensor:
        """All experts' features of a modality, weighted, (utterances, hidden); zero where it is missing."""
        projected = self.experts.project(batch, modality, generator)
        if modality not in self.condition.available:
            return torch.zeros_like(projected)
        present = batch.lengths[modality] > 0
        padded, readable = dialogues.pad(projected), dialogues.pad(present)
        views = [expert(padded, readable, generator) for expert in self.experts.experts.values()]
        weights = self.routers[modality](projected).softmax(-1)
        mixed = (dialogues.unpad(torch.stack(views, -1)) * weights[:, None]).sum(-1)
        return mixed * present[:, None]

    def losses(self, batch: Batch, generator: Generator | None = None) -> Losses:
        """Cross-entropy."""
        loss = F.cross_entropy(self(batch, generator)[1], batch.labels)
        return Losses(loss, {"cls": loss})

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout; only the network's own condition makes sense."""
        return self(batch)[1].expand(len(conditions), -1, -1)
