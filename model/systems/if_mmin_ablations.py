"""The two ablations of the IF-MMIN paper. Both start from IF-MMIN's pretraining."""

from collections.abc import Sequence

from ifmmin.model.definition import Shape, StageDefinition, System
from ifmmin.model.encoders import HIDDEN
from ifmmin.model.imagination import BLOCK_SIZES, UncascadedImagination
from ifmmin.model.systems.if_mmin import (
    IFMMIN,
    INVARIANT_FEATURES,
    LAMBDAS2,
    LOSSES,
    MOMENT_ORDERS,
    PRETRAINING,
    IFMMINHyperparameters,
    ImaginationHyperparameters,
    ImaginationObjective,
)


class UncascadedIFMMIN(IFMMIN):
    """IF-MMIN whose imagination reads H' in its first block only."""

    def __init__(
        self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN, block_sizes: Sequence[int] = BLOCK_SIZES
    ) -> None:
        super().__init__(shape, dropout_rate, hidden=hidden, block_sizes=block_sizes)
        self.imagination = UncascadedImagination(len(shape.modalities) * hidden, sizes=block_sizes)


class WithoutInvarianceObjective(ImaginationObjective):
    """L_cls + lambda1 L_img; L_inv is measured and not minimised."""

    lambda2 = 0.0


WITHOUT_INVARIANCE_SYSTEM = System(
    name="if-mmin-no-linv",
    summary="IF-MMIN without the invariance loss L_inv",
    stages={
        "pretrain": PRETRAINING,
        "train": StageDefinition(
            name="if-mmin-no-linv",
            version=4,
            hyperparameters=ImaginationHyperparameters,
            network=lambda shape, hyperparameters: IFMMIN(shape, hyperparameters.dropout),
            objective=WithoutInvarianceObjective,
            after=("pretrain",),
            stackable=True,
            losses=LOSSES,
        ),
    },
    search_space={"moment_order": MOMENT_ORDERS},
    featured_loss="inv",
    embedding=INVARIANT_FEATURES,
)

UNCASCADED_SYSTEM = System(
    name="if-mmin-no-cascade",
    summary="IF-MMIN whose imagination reads the invariant features in its first block only",
    stages={
        "pretrain": PRETRAINING,
        "train": StageDefinition(
            name="if-mmin-no-cascade",
            version=4,
            hyperparameters=IFMMINHyperparameters,
            network=lambda shape, hyperparameters: UncascadedIFMMIN(shape, hyperparameters.dropout),
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
