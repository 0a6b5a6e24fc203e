"""IF-MMIN: modality-invariant features help imagine the features of missing modalities (Zuo et al., ICASSP 2023)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples, availability
from ifmmin.data.conditions import Condition, full_condition, missing_conditions
from ifmmin.model.definition import Embedding, Losses, Network, Objective, Shape, StageDefinition, System, Upstream
from ifmmin.model.draws import Generator, draw_availability
from ifmmin.model.encoders import HIDDEN, Encodings, InvarianceEncoder, SpecificityEncoders, encode_set
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.imagination import BLOCK_SIZES, InvariantImagination
from ifmmin.model.layers import Classifier, load_weights
from ifmmin.model.losses import error_of_features, pairwise_discrepancy, wide


@dataclass(frozen=True, kw_only=True)
class PretrainingHyperparameters(TrainingHyperparameters):
    """Stage 1, invariant feature learning."""

    moment_order: int = hyperparameter(5, "K, the highest moment that CMD compares", minimum=1)
    gradient_clip: float = hyperparameter(0.5, "largest gradient norm of each sub-network", positive=True)


@dataclass(frozen=True, kw_only=True)
class ImaginationHyperparameters(TrainingHyperparameters):
    """Stage 2 of IF-MMIN and of its ablations."""

    lambda1: float = hyperparameter(1.0, "weight of the imagination loss L_img", minimum=0)
    epochs: int = hyperparameter(40, "passes over the training set", minimum=1)
    constant_epochs: int = hyperparameter(20, "epochs before the learning rate decays", minimum=0)
    batch_size: int = hyperparameter(128, "utterances in a batch", minimum=1)
    beta1: float = hyperparameter(0.5, "Adam's decay rate of the first moment", minimum=0, below=1)
    dropout: float = hyperparameter(0.5, "dropout rate of the classifier", minimum=0, below=1)


@dataclass(frozen=True, kw_only=True)
class IFMMINHyperparameters(ImaginationHyperparameters):
    """Stage 2, IF-MMIN training."""

    lambda2: float = hyperparameter(100.0, "weight of the invariance loss L_inv", minimum=0)


class InvariancePretraining(Network):
    """Stage 1: specificity encoders, the invariance encoder, and a classifier on [h; H]."""

    def __init__(self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.selection = (shape.full,)
        self.encoders = SpecificityEncoders(shape.modalities, shape.dimensions, hidden)
        self.invariance = InvarianceEncoder(hidden)
        width = 2 * len(shape.modalities) * hidden
        self.classifier = Classifier(width, shape.classes, hidden=hidden, dropout_rate=dropout_rate)

    def forward(self, h: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """H and logits of modality-specific features h; h and H are (batch, modalities, hidden)."""
        invariant = self.invariance(h)
        return invariant, self.classifier(torch.cat([h.flatten(1), invariant.flatten(1)], 1), generator)

    def losses(self, batch: Batch, moment_order: int, generator: Generator | None = None) -> Losses:
        """L_cls + L_cmd with all modalities that utterances have (Zuo et al., ICASSP 2023)."""
        invariant, logits = self(self.encoders(batch, None, generator), generator)
        classification = F.cross_entropy(logits, batch.labels)
        discrepancy = pairwise_discrepancy(wide(invariant), moment_order, batch.present)
        return Losses(classification + discrepancy, {"cls": classification, "cmd": discrepancy})

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""
        encodings = self.encoders.both(batch)
        masks = availability(conditions, batch.letters, batch.rows.device)
        return torch.stack([self(encodings.under(mask))[1] for mask in masks])

    def invariant_features(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """H, (conditions, batch, modalities x hidden)."""
        return _invariant_features(self, batch, conditions)


@dataclass(frozen=True)
class Targets:
    """The teacher's encodings of utterances; the teacher is the frozen network of stage 1.

    Attributes:
        specific: its h of the real and of the zero inputs.
        invariant: its H of all that utterances have, (utterances, modalities, hidden).
    """

    specific: Encodings
    invariant: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, teacher: InvariancePretraining, examples: Examples) -> "Targets":
        """Computed once for all epochs: the teacher does not change."""
        specific = encode_set(teacher.encoders, examples)
        return cls(specific, teacher.invariance(specific.real))


class IFMMIN(Network):
    """Stage 2: the encoders of stage 1, IF-IM, and a classifier on the joint representation C."""

    def __init__(
        self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN, block_sizes: Sequence[int] = BLOCK_SIZES
    ) -> None:
        super().__init__()
        self.selection = shape.missing
        self.encoders = SpecificityEncoders(shape.modalities, shape.dimensions, hidden)
        self.invariance = InvarianceEncoder(hidden)
        self.imagination = InvariantImagination(len(shape.modalities) * hidden, sizes=block_sizes)
        self.classifier = Classifier(
            self.imagination.representation, shape.classes, hidden=hidden, dropout_rate=dropout_rate
        )

    def forward(self, h: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """H', imagined features h' and logits of h under a condition; features are (batch, modalities, hidden)."""
        invariant = self.invariance(h)
        imagined, representation = self.imagination(h.flatten(1), invariant.flatten(1))
        return invariant, imagined.view_as(h), self.classifier(representation, generator)

    def losses(
        self,
        batch: Batch,
        available: Tensor,
        targets: Targets,
        lambda1: float,
        lambda2: float,
        generator: Generator | None = None,
    ) -> Losses:
        """L_cls + lambda1 L_img + lambda2 L_inv (Zuo et al., ICASSP 2023); `available` is bool (batch, modalities)."""
        invariant, imagined, logits = self(self.encoders(batch, available, generator), generator)
        classification = F.cross_entropy(logits, batch.labels)
        imagination = error_of_features(imagined, targets.specific[batch.rows].under(~available), batch.present)
        invariance = error_of_features(invariant, targets.invariant[batch.rows], batch.present)
        total = classification + lambda1 * imagination + lambda2 * invariance
        return Losses(total, {"cls": classification, "img": imagination, "inv": invariance})

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""
        encodings = self.encoders.both(batch)
        masks = availability(conditions, batch.letters, batch.rows.device)
        return torch.stack([self(encodings.under(mask))[2] for mask in masks])

    def invariant_features(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """H', (conditions, batch, modalities x hidden)."""
        return _invariant_features(self, batch, conditions)


def _invariant_features(
    network: InvariancePretraining | IFMMIN, batch: Batch, conditions: Sequence[Condition]
) -> Tensor:
    encodings = network.encoders.both(batch)
    masks = availability(conditions, batch.letters, batch.rows.device)
    return torch.stack([network.invariance(encodings.under(mask)).flatten(1) for mask in masks])


class PretrainingObjective(Objective):
    """L_cls + L_cmd of complete utterances."""

    network: InvariancePretraining
    hyperparameters: PretrainingHyperparameters

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        return self.network.losses(batch, self.hyperparameters.moment_order, generator)


class ImaginationObjective(Objective):
    """L_cls + lambda1 L_img + lambda2 L_inv.

    The student starts from stage 1, whose frozen network is the teacher; conditions are drawn at every visit.
    """

    network: IFMMIN
    hyperparameters: ImaginationHyperparameters
    real: Tensor
    zero: Tensor
    invariant: Tensor

    def __init__(
        self, network: IFMMIN, hyperparameters: ImaginationHyperparameters, examples: Examples, upstream: Upstream
    ) -> None:
        super().__init__(network, hyperparameters, examples, upstream)
        teacher = InvariancePretraining(Shape.of(examples), 0.0).to(examples.device)
        load_weights(teacher, upstream["pretrain"])
        network.encoders.load_state_dict(teacher.encoders.state_dict())
        network.invariance.load_state_dict(teacher.invariance.state_dict())
        targets = Targets.of(teacher, examples)
        self.register_buffer("real", targets.specific.real)
        self.register_buffer("zero", targets.specific.zero)
        self.register_buffer("invariant", targets.invariant)

    @property
    def lambda2(self) -> float:
        """The weight of L_inv."""
        assert isinstance(self.hyperparameters, IFMMINHyperparameters)
        return self.hyperparameters.lambda2

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        available = draw_availability(batch, generator)
        targets = Targets(Encodings(self.real, self.zero), self.invariant)
        return self.network.losses(batch, available, targets, self.hyperparameters.lambda1, self.lambda2, generator)


def _embed(networks: Mapping[str, Network], batch: Batch) -> Tensor:
    """H' in the missing conditions, and H of stage 1 in the full one, (conditions, batch, modalities x hidden)."""
    teacher, student = networks["pretrain"], networks["train"]
    assert isinstance(teacher, InvariancePretraining)
    assert isinstance(student, IFMMIN)
    return torch.cat(
        [
            student.invariant_features(batch, missing_conditions(batch.letters)),
            teacher.invariant_features(batch, (full_condition(batch.letters),)),
        ]
    )


INVARIANT_FEATURES = Embedding(
    title="invariant features",
    meaning="H' in each missing condition beside H of all modalities",
    features=_embed,
)
LOSSES = {
    "cls": "classification, $L_{cls}$",
    "img": "imagination, $L_{img}$",
    "inv": "invariance, $L_{inv}$",
}
MOMENT_ORDERS = (1, 7, False)
LAMBDAS2 = (0.1, 1000, True)

PRETRAINING = StageDefinition(
    name="invariance-pretraining",
    version=4,
    hyperparameters=PretrainingHyperparameters,
    network=lambda shape, hyperparameters: InvariancePretraining(shape, hyperparameters.dropout),
    objective=PretrainingObjective,
    stackable=True,
    losses={"cls": "classification, $L_{cls}$", "cmd": "moment discrepancy, $L_{cmd}$"},
)

SYSTEM = System(
    name="if-mmin",
    summary="IF-MMIN: missing features imagined with the help of modality-invariant ones",
    stages={
        "pretrain": PRETRAINING,
        "train": StageDefinition(
            name="if-mmin",
            version=4,
            hyperparameters=IFMMINHyperparameters,
            network=lambda shape, hyperparameters: IFMMIN(shape, hyperparameters.dropout),
            objective=ImaginationObjective,
            after=("pretrain",),
            stackable=True,
            losses=LOSSES,
        ),
    },
    search_space={"lambda2": LAMBDAS2, "moment_order": MOMENT_ORDERS},
    featured_loss="inv",
    embedding=INVARIANT_FEATURES,
)
