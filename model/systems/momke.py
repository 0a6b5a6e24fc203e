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
from ifmmin.data.conditions import Condition
from ifmmin.data.dialogues import Places
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System, Upstream
from ifmmin.model.draws import Generator, dropout
from ifmmin.model.encoders import ENCODING_BATCH
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.initialisation import initialise_linear_layers
from ifmmin.model.layers import load_weights
from ifmmin.model.losses import mean_cross_entropy

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
    dropout: float = hyperparameter(0.5, "dropout rate of inputs, experts and joint features", minimum=0, below=1)
    head_width: int = hyperparameter(128, "size of each of the two attention heads of an expert", minimum=1)
    depth: int = hyperparameter(4, "layers of an expert", minimum=1)

    @property
    def hidden(self) -> int:
        """The size of an expert's features."""
        return HEADS * self.head_width


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
        added: Tensor = mixed + dropout(self.outer(inner), self.dropout_rate, generator)
        return x + added


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
        self.dropout_rate = hyperparameters.dropout
        self.projections = nn.ModuleDict(
            {letter: nn.Linear(shape.dimensions[letter], hyperparameters.hidden) for letter in shape.letters}
        )
        self.experts = nn.ModuleDict({letter: Expert(hyperparameters) for letter in shape.letters})
        for letter in shape.letters:
            self.register_buffer(f"mean_{letter}", torch.zeros(shape.dimensions[letter]))
            self.register_buffer(f"deviation_{letter}", torch.ones(shape.dimensions[letter]))

    @torch.no_grad()
    def standardise_for(self, examples: Examples) -> None:
        """Take mean and deviation of each feature from the utterances of a training set that have the modality."""
        batches = list(examples.batches(ENCODING_BATCH))
        for letter in self.projections:
            of_batches = [_mean_over_time(batch, letter)[_present(batch, letter)] for batch in batches]
            deviation, mean = torch.std_mean(torch.cat(of_batches), 0, correction=0)
            self.get_buffer(f"mean_{letter}").copy_(mean)
            self.get_buffer(f"deviation_{letter}").copy_(torch.where(deviation < 1e-6, 1, deviation))

    def project(self, batch: Batch, letter: str, generator: Generator | None) -> Tensor:
        """The projection of a modality's standardised mean over time, (utterances, hidden)."""
        mean, deviation = self.get_buffer(f"mean_{letter}"), self.get_buffer(f"deviation_{letter}")
        vectors = (_mean_over_time(batch, letter) - mean) / deviation
        return dropout(self.projections[letter](vectors), self.dropout_rate, generator)


def _mean_over_time(batch: Batch, letter: str) -> Tensor:
    return batch.input_of(letter).sum(1) / batch.lengths[letter][:, None]


def _present(batch: Batch, letter: str) -> Tensor:
    """Which utterances have a modality, bool (utterances,)."""
    there = batch.has(letter)
    return torch.ones_like(batch.rows, dtype=torch.bool) if there is None else there


def places_of(batch: Batch) -> Places:
    """Where utterances stand in their dialogues; in a batch of utterances each is a dialogue by itself."""
    return Places.alone(batch.rows) if batch.dialogues is None else batch.dialogues


class ExpertPretraining(Network):
    """Stage 1: every modality through its own expert, and a linear layer for each."""

    def __init__(self, shape: Shape, hyperparameters: MoMKEHyperparameters) -> None:
        super().__init__()
        self.selection = (shape.full,)
        self.experts = Experts(shape, hyperparameters)
        self.outputs = nn.ModuleDict(
            {letter: nn.Linear(hyperparameters.hidden, shape.classes) for letter in shape.letters}
        )

    def initialise(self, generator: torch.Generator) -> None:
        """As PyTorch does; kaiming-normal weights would let features grow from layer to layer."""
        initialise_linear_layers(self, generator)

    def forward(self, batch: Batch, generator: Generator | None = None) -> dict[str, Tensor]:
        """Logits (utterances, classes) of every modality, by letter."""
        places = places_of(batch)
        logits = {}
        for letter, output in self.outputs.items():
            projected = places.pad(self.experts.project(batch, letter, generator))
            features = self.experts.experts[letter](projected, places.pad(_present(batch, letter)), generator)
            logits[letter] = output(places.unpad(features))
        return logits

    def losses(self, batch: Batch, generator: Generator | None = None) -> Losses:
        """The cross-entropies of all modalities; each trains its own expert alone."""
        terms = {
            letter: mean_cross_entropy(logits, batch.labels, batch.has(letter))
            for letter, logits in self(batch, generator).items()
        }
        total = torch.stack(list(terms.values())).sum()
        return Losses(total, {"cls": total})

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
        hidden, width = hyperparameters.hidden, len(shape.letters) * hyperparameters.hidden
        self.experts = Experts(shape, hyperparameters)
        self.routers = nn.ModuleDict({letter: Router(hidden, len(shape.letters)) for letter in shape.letters})
        self.joint, self.output = nn.Linear(width, width), nn.Linear(width, shape.classes)
        self.dropout_rate = hyperparameters.dropout

    def initialise(self, generator: torch.Generator) -> None:
        """As PyTorch does; kaiming-normal weights would let features grow from layer to layer."""
        initialise_linear_layers(self, generator)

    def forward(self, batch: Batch, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Joint features, (utterances, modalities x hidden), and logits, (utterances, classes)."""
        places = places_of(batch)
        x = torch.cat([self._mixture(batch, letter, places, generator) for letter in self.routers], -1)
        joint = x + dropout(F.relu(self.joint(x)), self.dropout_rate, generator)
        return joint, self.output(joint)

    def _mixture(self, batch: Batch, letter: str, places: Places, generator: Generator | None) -> Tensor:
        """All experts' features of a modality, weighted, (utterances, hidden); zero where it is missing."""
        projected = self.experts.project(batch, letter, generator)
        if letter not in self.condition.available:
            return torch.zeros_like(projected)
        there = _present(batch, letter)
        padded, readable = places.pad(projected), places.pad(there)
        views = [places.unpad(expert(padded, readable, generator)) for expert in self.experts.experts.values()]
        mixed = (torch.stack(views, -1) * self.routers[letter](projected)[:, None]).sum(-1)
        return torch.where(there[:, None], mixed, 0)

    def losses(self, batch: Batch, generator: Generator | None = None) -> Losses:
        """Cross-entropy of the utterances that have some of the condition's modalities."""
        some = None
        if batch.present is not None:
            some = torch.stack([_present(batch, letter) for letter in self.condition.available]).any(0)
        loss = mean_cross_entropy(self(batch, generator)[1], batch.labels, some)
        return Losses(loss, {"cls": loss})

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout; those of the network's own condition."""
        logits: Tensor = self(batch)[1]
        return logits.expand(len(conditions), -1, -1)


class Router(nn.Sequential):
    """How much each expert counts: linear, GELU, linear, softmax over the experts in the order of the modalities."""

    def __init__(self, hidden: int, experts: int) -> None:
        super().__init__(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, experts), nn.Softmax(-1))


class ExpertPretrainingObjective(Objective):
    """A cross-entropy of each modality."""

    network: ExpertPretraining

    def __init__(
        self,
        network: ExpertPretraining,
        hyperparameters: MoMKEHyperparameters,
        examples: Examples,
        upstream: Upstream,
    ) -> None:
        super().__init__(network, hyperparameters, examples, upstream)
        network.experts.standardise_for(examples)

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        return self.network.losses(batch, generator)


class MoMKEObjective(Objective):
    """Cross-entropy under the network's condition; experts start from stage 1."""

    network: MoMKE

    def __init__(
        self, network: MoMKE, hyperparameters: MoMKEHyperparameters, examples: Examples, upstream: Upstream
    ) -> None:
        super().__init__(network, hyperparameters, examples, upstream)
        pretrained = ExpertPretraining(Shape.of(examples), hyperparameters)
        load_weights(pretrained, upstream["pretrain"])
        network.experts.load_state_dict(pretrained.experts.state_dict())

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        return self.network.losses(batch, generator)


def adam_with_decay(parameters: Iterable[nn.Parameter], hyperparameters: MoMKEHyperparameters) -> torch.optim.Optimizer:
    """Adam in its fused form, with weight decay added to the gradients."""
    betas = hyperparameters.beta1, hyperparameters.beta2
    return torch.optim.Adam(
        parameters, hyperparameters.learning_rate, betas, weight_decay=hyperparameters.weight_decay, fused=True
    )


LOSSES = {"cls": "classification, $L_{cls}$"}

SYSTEM = System(
    name="momke",
    summary="MoMKE: experts of one modality each, mixed by routers; reads utterances within their dialogue",
    stages={
        "pretrain": StageDefinition(
            name="expert-pretraining",
            version=1,
            hyperparameters=MoMKEHyperparameters,
            network=ExpertPretraining,
            objective=ExpertPretrainingObjective,
            optimizer=adam_with_decay,
            unit="dialogue",
            losses=LOSSES,
        ),
        "train": StageDefinition(
            name="momke",
            version=1,
            hyperparameters=MoMKEHyperparameters,
            network=MoMKE,
            objective=MoMKEObjective,
            after=("pretrain",),
            conditions="all",
            optimizer=adam_with_decay,
            unit="dialogue",
            losses=LOSSES,
        ),
    },
    fewest_modalities=1,
    search_space={"learning_rate": (1e-5, 1e-3, True), "depth": (1, 6, False)},
)
