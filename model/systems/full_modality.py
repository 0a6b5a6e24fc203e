"""The two baselines of the MMIN paper: one network, trained on complete utterances or on the missing conditions."""

from ifmmin.data.batches import Batch
from ifmmin.model.definition import Losses, Objective, Shape, StageDefinition, System
from ifmmin.model.draws import Generator, draw_availability
from ifmmin.model.encoders import HIDDEN
from ifmmin.model.systems.mmin import CLASSIFICATION, PRETRAINING, FullModalityHyperparameters, FullModalityNetwork


class AugmentedNetwork(FullModalityNetwork):
    """The same network; validation chooses its epoch under the conditions it is trained for."""

    def __init__(self, shape: Shape, dropout_rate: float, *, hidden: int = HIDDEN) -> None:
        super().__init__(shape, dropout_rate, hidden=hidden)
        self.selection = shape.missing


class AugmentedObjective(Objective):
    """L_cls with one of the missing conditions drawn at every visit of an utterance."""

    network: AugmentedNetwork

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """L_cls of a batch under drawn missing conditions."""
        return self.network.losses(batch, draw_availability(batch, generator), generator)


FUSION_SYSTEM = System(
    name="fusion",
    summary="The full-modality baseline: trained on complete utterances, tested with modalities missing",
    stages={"pretrain": PRETRAINING},
    fewest_modalities=1,
)

AUGMENTED_SYSTEM = System(
    name="augmented",
    summary="The augmentation baseline: the same network, trained on the missing conditions",
    stages={
        "train": StageDefinition(
            name="augmented",
            version=4,
            hyperparameters=FullModalityHyperparameters,
            network=lambda shape, hyperparameters: AugmentedNetwork(shape, hyperparameters.dropout),
            objective=AugmentedObjective,
            stackable=True,
            losses=CLASSIFICATION,
        )
    },
)
