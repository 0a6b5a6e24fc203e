"""Training a whole system on a small corpus, in one go or interrupted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus
from ifmmin.model.definition import Network, Shape, StageDefinition, System, Weights
from ifmmin.model.history import Checkpoint
from ifmmin.model.hyperparameters import HyperparameterValue, TrainingHyperparameters, hyperparameters_of
from ifmmin.model.run import Start, Trained
from ifmmin.model.training import train, trained_network


@dataclass(frozen=True)
class TrainedSystem:
    """The network that predicts, and all trained stages by name, in order."""

    network: Network
    stages: dict[str, Trained]


def train_system(
    system: System, corpus: Corpus, *, train: Callable[..., Trained] = train, **values: HyperparameterValue
) -> TrainedSystem:
    """Train all stages of a system on the first fold.

    Args:
        train: how one network is trained.
        values: hyperparameters, for the stages that have them.
    """
    trained: dict[str, Trained] = {}
    for stage, definition in system.stages.items():
        start = Start(1, 0, upstream_of(system, definition, trained, corpus.letters))
        names = definition.stage_names(stage, corpus.letters)
        for name, condition in zip(names, definition.networks(corpus.letters), strict=True):
            hyperparameters = hyperparameters_for(definition, **values)
            trained[name] = train(definition, hyperparameters, corpus, start, condition=condition)
    weights = {name: stage.weights for name, stage in trained.items()}
    return TrainedSystem(network_of(system, corpus, weights, **values), trained)


def network_of(
    system: System, corpus: Corpus, weights: Mapping[str, Weights], **values: HyperparameterValue
) -> Network:
    """The network that predicts, with the weights of all stages."""
    stage, last = list(system.stages.items())[-1]
    of_last = [weights[name] for name in last.stage_names(stage, corpus.letters)]
    return trained_network(last, hyperparameters_for(last, **values), Shape.of(corpus), of_last)


def hyperparameters_for(definition: StageDefinition, **values: HyperparameterValue) -> TrainingHyperparameters:
    """Hyperparameters fit for a tiny corpus."""
    known = {item.name: item.default for item in hyperparameters_of(definition.hyperparameters)}
    fast = min(2e-3, 10 * float(known["learning_rate"]))
    tiny = {"batch_size": 16, "learning_rate": fast, "steps": 8, **values}
    return definition.make_hyperparameters({name: value for name, value in tiny.items() if name in known})


def upstream_of(
    system: System, definition: StageDefinition, trained: Mapping[str, Trained], letters: Sequence[str]
) -> dict[str, Weights]:
    """The weights of the stages that a definition of a system comes after."""
    names = [name for stage in definition.after for name in system.stages[stage].stage_names(stage, letters)]
    return {name: trained[name].weights for name in names}


class Interrupting:
    """Checkpoints in memory; the first training ends once one is kept."""

    def __init__(self) -> None:
        self.kept: Checkpoint | None = None

    def load(self) -> Checkpoint | None:
        """The checkpoint that is kept."""
        return self.kept

    def due(self) -> bool:
        """Whether none is kept yet."""
        return self.kept is None

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, and end the training.

        Raises:
            InterruptedError: always.
        """
        self.kept = checkpoint
        raise InterruptedError


def train_interrupted(
    definition: StageDefinition,
    hyperparameters: TrainingHyperparameters,
    corpus: Corpus,
    start: Start,
    *,
    condition: Condition | None,
) -> Trained:
    """Train until the first epoch has been kept, and then from there."""
    checkpoints = Interrupting()
    start = replace(start, checkpoints=checkpoints)
    try:
        train(definition, hyperparameters, corpus, start, condition=condition)
    except InterruptedError:
        assert checkpoints.kept is not None
        assert len(checkpoints.kept.history) == 1
    return train(definition, hyperparameters, corpus, start, condition=condition)
