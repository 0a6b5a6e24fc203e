"""MMIN, the missing modality imagination network (Zhao et al., ACL 2021), and MMIN without its cycle."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples, availability
from ifmmin.data.conditions import Condition
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System, Upstream
from ifmmin.model.draws import Generator, draw_availability
from ifmmin.model.encoders import HIDDEN, Encodings, SpecificityEncoders, encode_set
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.imagination import BLOCK_SIZES, ResidualImagination
from ifmmin.model.layers import Classifier, load_weights
from ifmmin.model.losses import error_of_features


@dataclass(frozen=True, kw_only=True)
class FullModalityHyperparameters(TrainingHyperparameters):
    """Stage 1: classification of complete utterances."""

    batch_size: int = hyperparameter(128, "utterances in a batch", minimum=1)
    gradient_clip: float = hyperparameter(0.5, "largest gradient norm of each sub-network", positive=True)


@dataclass(frozen=True, kw_only=True)
class MMINWithoutCycleHyperparameters(TrainingHyperparameters):
    """Stage 2, without the backward imagination."""

    img_weight: float = hyperparameter(4.0, "weight of the imagination loss L_img", minimum=0)
    epochs: int = hyperparameter(40, "passes over the training set", minimum=1)
    constant_epochs: int = hyperparameter(40, "epochs before the learning rate decays", minimum=0)
    batch_size: int = hyperparameter(128, "utterances in a batch", minimum=1)
    beta1: float = hyperparameter(0.5, "Adam's decay rate of the first moment", minimum=0, below=1)
    dropout: float = hyperparameter(0.5, "dropout rate of the classifier", minimum=0, below=1)


@dataclass(frozen=True, kw_only=True)
class MMINHyperparameters(MMINWithoutCycleHyperparameters):
    """Stage 2, MMIN training."""

    cycle_weight: float = hyperparameter(2.0, "weight of the cycle consistency loss L_cycle", minimum=0)


class FullModalityNetwork(Network):
    """Specificity encoders and a classifier on h."""

    def __init__(self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.selection = (shape.full,)
        self.encoders = SpecificityEncoders(shape.modalities, shape.dimensions, hidden)
        self.classifier = Classifier(
            len(shape.modalities) * hidden, shape.classes, hidden=hidden, dropout_rate=dropout_rate
        )

    def losses(self, batch: Batch, available: Tensor | None = None, generator: Generator | None = None) -> Losses:
        """L_cls with these modalities available, bool (batch, modalities); without, with all that utterances have."""
        h = self.encoders(batch, available, generator)
        classification = F.cross_entropy(self.classifier(h.flatten(1), generator), batch.labels)
        return Losses(classification, {"cls": classification})

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""
        encodings = self.encoders.both(batch)
        masks = availability(conditions, batch.letters, batch.rows.device)
        return torch.stack([self.classifier(encodings.under(mask).flatten(1)) for mask in masks])


class MMINWithoutCycle(Network):
    """The encoders of stage 1, the imagination module, and a classifier on the joint representation C."""

    def __init__(
        self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN, block_sizes: Sequence[int] = BLOCK_SIZES
    ) -> None:
        super().__init__()
        self.selection = shape.missing
        self.encoders = SpecificityEncoders(shape.modalities, shape.dimensions, hidden)
        self.imagination = ResidualImagination(len(shape.modalities) * hidden, sizes=block_sizes)
        self.classifier = Classifier(
            self.imagination.representation, shape.classes, hidden=hidden, dropout_rate=dropout_rate
        )

    def forward(self, h: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Imagined features h' and logits of h under a condition; h and h' are (batch, modalities, hidden)."""
        imagined, representation = self.imagination(h.flatten(1))
        return imagined.view_as(h), self.classifier(representation, generator)

    def losses(
        self,
        batch: Batch,
        available: Tensor,
        teacher: Encodings,
        hyperparameters: MMINWithoutCycleHyperparameters,
        generator: Generator | None = None,
    ) -> Losses:
        """L_cls + 4 L_img.

        Args:
            available: bool (batch, modalities).
            teacher: stage 1's encodings of the whole set.
        """
        return self._losses(batch, available, teacher, hyperparameters, generator)[0]

    def _losses(
        self,
        batch: Batch,
        available: Tensor,
        teacher: Encodings,
        hyperparameters: MMINWithoutCycleHyperparameters,
        generator: Generator | None,
    ) -> tuple[Losses, Tensor, Tensor]:
        """The losses, with the h and the h' that they are made of."""
        h = self.encoders(batch, available, generator)
        imagined, logits = self(h, generator)
        classification = F.cross_entropy(logits, batch.labels)
        imagination = error_of_features(imagined, teacher[batch.rows].under(~available), batch.present)
        terms = {"cls": classification, "img": imagination}
        return Losses(classification + hyperparameters.img_weight * imagination, terms), h, imagined

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""
        encodings = self.encoders.both(batch)
        masks = availability(conditions, batch.letters, batch.rows.device)
        return torch.stack([self(encodings.under(mask))[1] for mask in masks])


class MMIN(MMINWithoutCycle):
    """With a second module of the same shape, which imagines h back from h'."""

    def __init__(
        self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN, block_sizes: Sequence[int] = BLOCK_SIZES
    ) -> None:
        super().__init__(shape, dropout_rate, hidden=hidden, block_sizes=block_sizes)
        self.backward_imagination = ResidualImagination(len(shape.modalities) * hidden, sizes=block_sizes)

    def cycle(self, imagined: Tensor) -> Tensor:
        """The features h imagined back from h', both (batch, modalities, hidden)."""
        cycled: Tensor = self.backward_imagination(imagined.flatten(1))[0].view_as(imagined)
        return cycled

    def losses(
        self,
        batch: Batch,
        available: Tensor,
        teacher: Encodings,
        hyperparameters: MMINWithoutCycleHyperparameters,
        generator: Generator | None = None,
    ) -> Losses:
        """L_cls + 4 L_img + 2 L_cycle; the cycle's target h is not trained by it."""
        assert isinstance(hyperparameters, MMINHyperparameters)
        losses, h, imagined = self._losses(batch, available, teacher, hyperparameters, generator)
        cycle = error_of_features(self.cycle(imagined), h.detach(), batch.present)
        return Losses(losses.total + hyperparameters.cycle_weight * cycle, {**losses.terms, "cycle": cycle})


class FullModalityObjective(Objective):
    """L_cls of complete utterances."""

    network: FullModalityNetwork

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        return self.network.losses(batch, None, generator)


class ImaginationObjective(Objective):
    """The student starts from stage 1, whose frozen encoders are the teacher; conditions are drawn at every visit."""

    network: MMINWithoutCycle
    hyperparameters: MMINWithoutCycleHyperparameters
    real: Tensor
    zero: Tensor

    def __init__(
        self,
        network: MMINWithoutCycle,
        hyperparameters: MMINWithoutCycleHyperparameters,
        examples: Examples,
        upstream: Upstream,
    ) -> None:
        super().__init__(network, hyperparameters, examples, upstream)
        pretrained = FullModalityNetwork(Shape.of(examples), 0.0).to(examples.device)
        load_weights(pretrained, upstream["pretrain"])
        network.encoders.load_state_dict(pretrained.encoders.state_dict())
        teacher = encode_set(pretrained.encoders, examples)
        self.register_buffer("real", teacher.real)
        self.register_buffer("zero", teacher.zero)

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        available = draw_availability(batch, generator)
        return self.network.losses(batch, available, Encodings(self.real, self.zero), self.hyperparameters, generator)


CLASSIFICATION = {"cls": "classification, $L_{cls}$"}
LOSSES = {**CLASSIFICATION, "img": "imagination, $L_{img}$"}

PRETRAINING = StageDefinition(
    name="full-modality-pretraining",
    version=4,
    hyperparameters=FullModalityHyperparameters,
    network=lambda shape, hyperparameters: FullModalityNetwork(shape, hyperparameters.dropout),
    objective=FullModalityObjective,
    stackable=True,
    losses=CLASSIFICATION,
)

MMIN_SYSTEM = System(
    name="mmin",
    summary="MMIN: missing features imagined, and the available features imagined back from them",
    stages={
        "pretrain": PRETRAINING,
        "train": StageDefinition(
            name="mmin",
            version=4,
            hyperparameters=MMINHyperparameters,
            network=lambda shape, hyperparameters: MMIN(shape, hyperparameters.dropout),
            objective=ImaginationObjective,
            after=("pretrain",),
            stackable=True,
            losses={**LOSSES, "cycle": "cycle, $L_{cycle}$"},
        ),
    },
)

WITHOUT_CYCLE_SYSTEM = System(
    name="mmin-no-cycle",
    summary="MMIN without imagining back",
    stages={
        "pretrain": PRETRAINING,
        "train": StageDefinition(
            name="mmin-no-cycle",
            version=4,
            hyperparameters=MMINWithoutCycleHyperparameters,
            network=lambda shape, hyperparameters: MMINWithoutCycle(shape, hyperparameters.dropout),
            objective=ImaginationObjective,
            after=("pretrain",),
            stackable=True,
            losses=LOSSES,
        ),
    },
)
