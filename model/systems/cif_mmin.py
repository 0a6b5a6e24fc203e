"""CIF-MMIN: consistency features, learnt by contrast, help imagine the features of missing modalities.

The contrastive successor of IF-MMIN (Liu, Zuo et al., 2024). It shares nothing with IF-MMIN's pretraining.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples, availability
from ifmmin.data.conditions import Condition
from ifmmin.data.modalities import ENCODERS
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System, Upstream
from ifmmin.model.draws import Generator, draw_availability
from ifmmin.model.encoders import (
    HIDDEN,
    Encoders,
    Encodings,
    Kinds,
    LastOutputEncoder,
    SequenceEncoder,
    SpecificityEncoders,
    encode_set,
)
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.imagination import BLOCK_SIZES, Imagination
from ifmmin.model.layers import Classifier, load_weights
from ifmmin.model.losses import error_of_features, wide

SHARPNESS = math.e
"""The factor of the cosines in the contrast. The authors' program never trains it."""


@dataclass(frozen=True, kw_only=True)
class ConsistencyPretrainingHyperparameters(TrainingHyperparameters):
    """Stage 1, consistency feature learning."""

    contrast_weight: float = hyperparameter(1.0, "weight of the contrast of all pairs of modalities", minimum=0)
    epochs: int = hyperparameter(40, "passes over the training set", minimum=1)
    constant_epochs: int = hyperparameter(30, "epochs before the learning rate decays", minimum=0)
    gradient_clip: float = hyperparameter(0.5, "largest gradient norm of each sub-network", positive=True)


@dataclass(frozen=True, kw_only=True)
class CIFMMINHyperparameters(TrainingHyperparameters):
    """Stage 2, CIF-MMIN training."""

    img_weight: float = hyperparameter(8.0, "weight of the imagination loss L_img", minimum=0)
    con_weight: float = hyperparameter(100.0, "weight of the consistency loss L_con", minimum=0)
    epochs: int = hyperparameter(40, "passes over the training set", minimum=1)
    constant_epochs: int = hyperparameter(20, "epochs before the learning rate decays", minimum=0)
    beta1: float = hyperparameter(0.5, "Adam's decay rate of the first moment", minimum=0, below=1)
    dropout: float = hyperparameter(0.5, "dropout rate of the classifier", minimum=0, below=1)


class ConsistencyEncoders(Encoders):
    """Con_m of stage 1: an LSTM with the maximum over time for every modality."""

    kinds: ClassVar[Kinds] = dict.fromkeys(ENCODERS, SequenceEncoder)


class StudentConsistencyEncoders(ConsistencyEncoders):
    """Con_m of stage 2, which takes the last output over tokens instead, as the released program does."""

    kinds: ClassVar[Kinds] = {**ConsistencyEncoders.kinds, "textcnn": LastOutputEncoder}


class Projection(nn.Sequential):
    """S_m of Con_m: linear, LeakyReLU, layer normalisation, linear, LeakyReLU; (..., hidden) to the same shape."""

    def __init__(self, hidden: int) -> None:
        super().__init__(
            nn.Linear(hidden, hidden), nn.LeakyReLU(), nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.LeakyReLU()
        )


class ConsistencyPretraining(Network):
    """Stage 1: both kinds of encoders, a projection for each modality, and a classifier on h."""

    def __init__(self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.selection = (shape.full,)
        width = len(shape.modalities) * hidden
        self.encoders = SpecificityEncoders(shape.modalities, shape.dimensions, hidden)
        self.consistency = ConsistencyEncoders(shape.modalities, shape.dimensions, hidden)
        self.projections = nn.ModuleDict({letter: Projection(hidden) for letter in shape.letters})
        self.classifier = Classifier(width, shape.classes, hidden=hidden, dropout_rate=dropout_rate)
        self.pair_weights = pair_weights(shape)

    def clipping_groups(self) -> list[list[nn.Parameter]]:
        """Those of every encoder, projection and the classifier."""
        parts = [*self.encoders.children(), *self.consistency.children(), *self.projections.values(), self.classifier]
        return [list(part.parameters()) for part in parts]

    def projected(self, consistency: Tensor) -> Tensor:
        """S of consistency features, both (batch, modalities, hidden)."""
        parts = zip(self.projections.values(), consistency.unbind(1), strict=True)
        return torch.stack([projection(part) for projection, part in parts], 1)

    def losses(self, batch: Batch, contrast_weight: float, generator: Generator | None = None) -> Losses:
        """L_cls, and the contrast of all pairs of modalities, with all that utterances have."""
        h = self.encoders(batch, None, generator)
        classification = F.cross_entropy(self.classifier(h.flatten(1), generator), batch.labels)
        projected = F.normalize(self.projected(self.consistency(batch)), dim=-1)
        total = torch.zeros_like(classification)
        for (one, other), weight in self.pair_weights.items():
            both = None if batch.present is None else batch.present[:, one] & batch.present[:, other]
            total = total + weight * contrast(wide(projected[:, one]), wide(projected[:, other]), both)
        return Losses(classification + contrast_weight * total, {"cls": classification, "contrast": total})

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""
        encodings = self.encoders.both(batch)
        masks = availability(conditions, batch.letters, batch.rows.device)
        return torch.stack([self.classifier(encodings.under(mask).flatten(1)) for mask in masks])


def pair_weights(shape: Shape) -> dict[tuple[int, int], float]:
    """The weights of pairs of modalities, by their places, 1 in all: a pair with text counts half as much as others."""
    weights = {
        (one, other): 1.0 if "textcnn" in (shape.modalities[one].encoder, shape.modalities[other].encoder) else 2.0
        for one, other in combinations(range(len(shape.modalities)), 2)
    }
    return {pair: weight / sum(weights.values()) for pair, weight in weights.items()}


def contrast(first: Tensor, second: Tensor, both: Tensor | None = None) -> Tensor:
    """The contrast of two modalities' features of the same utterances, a scalar.

    An utterance's features in the two modalities shall be more alike than those of different utterances: the mean over
    both directions of -log(E_ii / sum over j != i of E_ij), with E = exp(e * first second^T).

    Args:
        first, second: unit rows, (batch, features).
        both: which utterances have both modalities, bool (batch,); None if all do.
    """
    similarities = (SHARPNESS * first @ second.T).exp()
    alike = similarities.diagonal()
    if both is not None:
        similarities = torch.where(both[:, None] & both, similarities, 0)
    others = similarities - torch.diag_embed(similarities.diagonal())
    directions = [-(alike / (others.sum(along) + 1e-10)).log() for along in (0, 1)]
    of_each = (directions[0] + directions[1]) / 2
    if both is None:
        return of_each.mean()
    return torch.where(both, of_each, 0).sum() / both.sum().clamp(min=1)


class ConsistentImagination(Imagination):
    """The blocks of IF-IM, which read consistency features c; h' comes from the last block's input and output."""

    def forward(self, h: Tensor, consistency: Tensor) -> Tensor:
        """Imagined features h', of h and c under a condition, all (..., width)."""
        entered = output = h
        for block in self.blocks:
            entered = output + consistency
            _, output = block(entered)
        imagined: Tensor = self.output(entered + output)
        return imagined


class CIFMMIN(Network):
    """Stage 2: the encoders of stage 1, the imagination module, and a classifier on h + h'."""

    def __init__(
        self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN, block_sizes: Sequence[int] = BLOCK_SIZES
    ) -> None:
        super().__init__()
        self.selection = shape.missing
        width = len(shape.modalities) * hidden
        self.encoders = SpecificityEncoders(shape.modalities, shape.dimensions, hidden)
        self.consistency = StudentConsistencyEncoders(shape.modalities, shape.dimensions, hidden)
        self.imagination = ConsistentImagination(width, sizes=block_sizes)
        self.classifier = Classifier(width, shape.classes, hidden=hidden, dropout_rate=dropout_rate)

    def forward(self, h: Tensor, consistency: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Imagined features h', and logits, of h and c under a condition, both (batch, modalities, hidden)."""
        imagined = self.imagination(h.flatten(1), consistency.flatten(1)).view_as(h)
        return imagined, self.classifier((h + imagined).flatten(1), generator)

    def losses(
        self,
        batch: Batch,
        available: Tensor,
        teacher: Encodings,
        target: Tensor,
        hyperparameters: CIFMMINHyperparameters,
        generator: Generator | None = None,
    ) -> Losses:
        """L_cls + 8 L_img + 100 L_con.

        Args:
            available: bool (batch, modalities).
            teacher: stage 1's h of the whole training set.
            target: stage 1's c of the full input, (utterances, modalities, hidden).
        """
        h, consistency = self.encoders(batch, available, generator), self.consistency(batch, available)
        imagined, logits = self(h, consistency, generator)
        terms = {
            "cls": F.cross_entropy(logits, batch.labels),
            "img": error_of_features(imagined, teacher[batch.rows].under(~available), batch.present),
            "con": error_of_features(consistency, target[batch.rows], batch.present),
        }
        weights = hyperparameters.img_weight, hyperparameters.con_weight
        return Losses(terms["cls"] + weights[0] * terms["img"] + weights[1] * terms["con"], terms)

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""
        h, consistency = self.encoders.both(batch), self.consistency.both(batch)
        masks = availability(conditions, batch.letters, batch.rows.device)
        return torch.stack([self(h.under(mask), consistency.under(mask))[1] for mask in masks])


class ConsistencyPretrainingObjective(Objective):
    """L_cls and the contrast, of complete utterances."""

    network: ConsistencyPretraining
    hyperparameters: ConsistencyPretrainingHyperparameters

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        return self.network.losses(batch, self.hyperparameters.contrast_weight, generator)


class CIFMMINObjective(Objective):
    """L_cls + 8 L_img + 100 L_con.

    The student starts from stage 1, whose frozen encoders are the teacher; conditions are drawn at every visit.
    """

    network: CIFMMIN
    hyperparameters: CIFMMINHyperparameters
    real: Tensor
    zero: Tensor
    target: Tensor

    def __init__(
        self, network: CIFMMIN, hyperparameters: CIFMMINHyperparameters, examples: Examples, upstream: Upstream
    ) -> None:
        super().__init__(network, hyperparameters, examples, upstream)
        pretrained = ConsistencyPretraining(Shape.of(examples), 0.0).to(examples.device)
        load_weights(pretrained, upstream["pretrain"])
        network.encoders.load_state_dict(pretrained.encoders.state_dict())
        network.consistency.load_state_dict(pretrained.consistency.state_dict())
        teacher = encode_set(pretrained.encoders, examples)
        self.register_buffer("real", teacher.real)
        self.register_buffer("zero", teacher.zero)
        self.register_buffer("target", encode_set(pretrained.consistency, examples).real)

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        available = draw_availability(batch, generator)
        teacher = Encodings(self.real, self.zero)
        return self.network.losses(batch, available, teacher, self.target, self.hyperparameters, generator)


SYSTEM = System(
    name="cif-mmin",
    summary="CIF-MMIN: missing features imagined with the help of consistency features, learnt by contrast",
    stages={
        "pretrain": StageDefinition(
            name="consistency-pretraining",
            version=1,
            hyperparameters=ConsistencyPretrainingHyperparameters,
            network=lambda shape, hyperparameters: ConsistencyPretraining(shape, hyperparameters.dropout),
            objective=ConsistencyPretrainingObjective,
            stackable=True,
            losses={"cls": "classification, $L_{cls}$", "contrast": "contrast of modalities, $L_{contrast}$"},
        ),
        "train": StageDefinition(
            name="cif-mmin",
            version=1,
            hyperparameters=CIFMMINHyperparameters,
            network=lambda shape, hyperparameters: CIFMMIN(shape, hyperparameters.dropout),
            objective=CIFMMINObjective,
            after=("pretrain",),
            stackable=True,
            losses={
                "cls": "classification, $L_{cls}$",
                "img": "imagination, $L_{img}$",
                "con": "consistency, $L_{con}$",
            },
        ),
    },
    search_space={"con_weight": (1, 1000, True), "contrast_weight": (0.1, 10, True)},
    featured_loss="con",
)
