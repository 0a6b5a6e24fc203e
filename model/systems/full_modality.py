"""The two baselines of the MMIN paper: one network, trained on complete utterances or on the missing conditions."""

from ifmmin.data.batches import Batch
from ifmmin.data.conditions import MISSING_CONDITIONS
from ifmmin.model.definition import Losses, Objective, StageDefinition, System
from ifmmin.model.draws import Generator, draw_availability
from ifmmin.model.systems.mmin import CLASSIFICATION, PRETRAINING, FullModalityHyperparameters, FullModalityNetwork


class AugmentedNetwork(FullModalityNetwork):
    """The same network; validation chooses its epoch under the conditions it is trained for."""

    selection = MISSING_CONDITIONS


class AugmentedObjective(Objective):
    """L_cls with one of the six missing conditions drawn at every visit of an utterance."""

    network: AugmentedNetwork

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """L_cls of a batch under drawn missing conditions."""
        return self.network.losses(batch, draw_availability(batch.labels, generator), generator)


FUSION_SYSTEM = System(
    name="fusion",
    summary="The full-modality baseline: trained on complete utterances, tested with modalities missing",
    stages={"pretrain": PRETRAINING},
)

AUGMENTED_SYSTEM = System(
    name="augmented",
    summary="The augmentation baseline: the same network, trained on the six missing conditions",
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
