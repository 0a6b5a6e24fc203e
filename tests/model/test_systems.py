"""What every system must do; a system is tested by being registered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import torch
from scipy import stats

from ifmmin.data.batches import Batch, Examples
from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus, Sequences
from ifmmin.data.modalities import AVT
from ifmmin.model.checks import check_system
from ifmmin.model.definition import Network, Shape, StageDefinition, System, Weights
from ifmmin.model.evaluation import predict
from ifmmin.model.history import Checkpoint
from ifmmin.model.hyperparameters import HyperparameterValue, TrainingHyperparameters, hyperparameters_of
from ifmmin.model.run import Start, Trained, TrainingRun
from ifmmin.model.systems import DEFINITIONS, REFERENCE, SYSTEMS
from ifmmin.model.training import train, trained_network
from tests.small import ALL_CONDITIONS, DIMENSIONS, LETTERS, make_corpus

CORPUS = make_corpus(utterances=96)

EACH_SYSTEM = [
    pytest.param(system, id=name, marks=[] if name == REFERENCE else pytest.mark.slow)
    for name, system in SYSTEMS.items()
]
"""Training all of them takes a minute, so that the fast tests try the reference alone."""


@dataclass(frozen=True)
class TrainedSystem:
    """The network that predicts, and all trained stages by name, in order."""

    network: Network
    stages: dict[str, Trained]


def hyperparameters_for(definition: StageDefinition, **values: HyperparameterValue) -> TrainingHyperparameters:
    """Hyperparameters fit for a tiny corpus."""
    known = {item.name: item.default for item in hyperparameters_of(definition.hyperparameters)}
    fast = min(2e-3, 10 * float(known["learning_rate"]))
    tiny = {"batch_size": 16, "learning_rate": fast, "steps": 8, **values}
    return definition.make_hyperparameters({name: value for name, value in tiny.items() if name in known})


class Interrupting:
    """Checkpoints in memory; the first training ends once one is kept."""

    def __init__(self) -> None:
        self.kept: Checkpoint | None = None

    def load(self) -> Checkpoint | None:
        return self.kept

    def due(self) -> bool:
        return self.kept is None

    def save(self, checkpoint: Checkpoint) -> None:
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
    with pytest.raises(InterruptedError):
        train(definition, hyperparameters, corpus, start, condition=condition)
    assert checkpoints.kept is not None
    assert len(checkpoints.kept.history) == 1
    return train(definition, hyperparameters, corpus, start, condition=condition)


def train_system(
    system: System, corpus: Corpus, *, train: Callable[..., Trained] = train, **values: HyperparameterValue
) -> TrainedSystem:
    """All stages of a system on the first fold."""
    trained: dict[str, Trained] = {}
    stage = ""
    for stage, definition in system.stages.items():
        start = Start(1, 0, upstream_of(system, definition, trained, corpus.letters))
        for name, condition in zip(
            definition.stage_names(stage, corpus.letters), definition.networks(corpus.letters), strict=True
        ):
            hyperparameters = hyperparameters_for(definition, **values)
            trained[name] = train(definition, hyperparameters, corpus, start, condition=condition)
    last = system.stages[stage]
    weights = [trained[name].weights for name in last.stage_names(stage, corpus.letters)]
    network = trained_network(last, hyperparameters_for(last, **values), Shape.of(corpus), weights)
    return TrainedSystem(network, trained)


def upstream_of(
    system: System, definition: StageDefinition, trained: Mapping[str, Trained], letters: Sequence[str] = LETTERS
) -> dict[str, Weights]:
    names = [name for stage in definition.after for name in system.stages[stage].stage_names(stage, letters)]
    return {name: trained[name].weights for name in names}


@pytest.fixture(scope="module", params=EACH_SYSTEM)
def system(request: pytest.FixtureRequest) -> System:
    chosen: System = request.param
    return chosen


@pytest.fixture(scope="module")
def briefly(system: System) -> TrainedSystem:
    return train_system(system, CORPUS, epochs=2)


def test_predictions_are_probabilities_of_every_class_in_every_condition(
    briefly: TrainedSystem,
) -> None:
    probabilities = predict(briefly.network, Examples(CORPUS, 1, "test"), ALL_CONDITIONS)
    assert probabilities.shape == (7, 32, 3)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(7, 32))


def assert_same_weights(first: TrainedSystem, second: TrainedSystem) -> None:
    for stage, trained in first.stages.items():
        other = second.stages[stage].weights
        assert all(np.array_equal(other[name], value) for name, value in trained.weights.items())


def test_the_same_seed_gives_the_same_bits(system: System, briefly: TrainedSystem) -> None:
    torch.manual_seed(99)
    again = train_system(system, CORPUS, epochs=2)
    assert_same_weights(again, briefly)


def test_interrupted_training_resumes_to_the_same_bits(system: System, briefly: TrainedSystem) -> None:
    resumed = train_system(system, CORPUS, train=train_interrupted, epochs=2)
    assert_same_weights(resumed, briefly)
    for stage, trained in resumed.stages.items():
        expected = [replace(epoch, seconds=0) for epoch in briefly.stages[stage].history]
        assert [replace(epoch, seconds=0) for epoch in trained.history] == expected


def test_saved_and_loaded_it_predicts_the_same_bits(system: System, briefly: TrainedSystem) -> None:
    stage, last = list(system.stages.items())[-1]
    saved = [safetensors.numpy.save(dict(briefly.stages[name].weights)) for name in last.stage_names(stage, LETTERS)]
    loaded = [safetensors.numpy.load(content) for content in saved]
    network = trained_network(last, hyperparameters_for(last, epochs=2), Shape.of(CORPUS), loaded)
    test = Examples(CORPUS, 1, "test")
    assert torch.equal(predict(network, test, ALL_CONDITIONS), predict(briefly.network, test, ALL_CONDITIONS))


def test_a_missing_modality_has_no_influence(briefly: TrainedSystem) -> None:
    network = briefly.network
    before = predict(network, Examples(CORPUS, 1, "test"), ALL_CONDITIONS)
    for modality, sequences in CORPUS.sequences.items():
        values = sequences.values.copy()
        for index in CORPUS.folds[1].test:
            values[slice(*sequences.offsets[index : index + 2])] += 50
        other = replace(CORPUS, sequences={**CORPUS.sequences, modality: Sequences(values, sequences.offsets)})
        after = predict(network, Examples(other, 1, "test"), ALL_CONDITIONS)
        for index, condition in enumerate(ALL_CONDITIONS):
            assert torch.equal(before[index], after[index]) == (modality not in condition)


def test_a_prediction_does_not_depend_on_batch_mates(
    briefly: TrainedSystem,
) -> None:
    network, examples = briefly.network, Examples(CORPUS, 1, "test")
    together = predict(network, examples, ALL_CONDITIONS)
    for row in (0, 13, 31):
        alone = network.logits(examples.batch(torch.tensor([row])), ALL_CONDITIONS).softmax(-1)
        torch.testing.assert_close(alone[:, 0], together[:, row], rtol=1e-4, atol=1e-5)


def test_it_learns_what_every_modality_shows(system: System) -> None:
    trained = train_system(system, CORPUS, epochs=30)
    network = trained.network
    test = Examples(CORPUS, 1, "test")
    correct = (predict(network, test, ALL_CONDITIONS).argmax(-1) == test.labels).float().mean(1)
    assert correct[-1] > 0.8, correct  # chance is a third
    if network.selection != (ALL_CONDITIONS[-1],):
        assert correct.mean() > 0.7, correct
    for stage in trained.stages.values():
        assert stage.history[-1].losses["cls"] < stage.history[0].losses["cls"]


@pytest.mark.slow  # chance is seen only over many runs
def test_labels_permuted_within_training_give_chance(system: System) -> None:
    """A network that sees test labels, in whatever way, would do better."""
    seen = np.concatenate([CORPUS.folds[1].train, CORPUS.folds[1].validation])
    place = CORPUS.utterances.schema.get_field_index("label")
    accuracies = []
    for seed in range(6):
        labels = CORPUS.labels.copy()
        labels[seen] = np.random.default_rng(seed).permutation(labels[seen])
        corpus = replace(CORPUS, utterances=CORPUS.utterances.set_column(place, "label", pa.array(labels)))
        test = Examples(corpus, 1, "test")
        probabilities = predict(train_system(system, corpus, epochs=4).network, test, ALL_CONDITIONS)
        accuracies.append(float((probabilities.argmax(-1) == test.labels).float().mean()))
    low, high = stats.t.interval(0.99, len(accuracies) - 1, np.mean(accuracies), stats.sem(accuracies))
    assert low < 1 / 3 < high, accuracies


def test_every_parameter_of_a_network_is_clipped_once(system: System) -> None:
    for definition in system.stages.values():
        for condition in definition.networks(LETTERS):
            network = definition.network(Shape(AVT, DIMENSIONS, 3, condition), hyperparameters_for(definition))
            clipped = [id(parameter) for group in network.clipping_groups() for parameter in group]
            assert sorted(clipped) == sorted(map(id, network.parameters()))


def test_no_step_depends_on_what_is_in_the_memory_of_a_device(system: System, briefly: TrainedSystem) -> None:
    """On the device "meta" tensors have shapes only: to look at a value, for which one waits for a GPU, is an error."""
    for definition in system.stages.values():
        start = Start(1, 0, upstream_of(system, definition, briefly.stages))
        for condition in definition.networks(LETTERS):
            run = TrainingRun(definition, hyperparameters_for(definition), CORPUS, start, condition, "cpu")
            batch = run.training.batch(torch.arange(8))
            features, lengths = (
                {m: x.to("meta") for m, x in parts.items()} for parts in (batch.features, batch.lengths)
            )
            batch = Batch(features, lengths, batch.labels.to("meta"), batch.rows.to("meta"))
            run.objective.to("meta")(batch, run.draws).total.backward()
            run.network.logits(batch, run.network.selection)


def test_a_system_is_as_the_framework_assumes(system: System) -> None:
    check_system(system)


def test_every_loss_has_a_title(system: System, briefly: TrainedSystem) -> None:
    for stage, definition in system.stages.items():
        names = definition.stage_names(stage, LETTERS)
        terms = {term for name in names for term in briefly.stages[name].history[0].losses}
        assert set(definition.losses) == terms - {"total"}
    assert system.featured_loss is None or system.featured_loss in list(system.stages.values())[-1].losses


def test_a_definition_has_one_name_and_documented_hyperparameters(system: System) -> None:
    for definition in system.stages.values():
        assert DEFINITIONS[definition.name] is definition
        assert all(item.meaning for item in hyperparameters_of(definition.hyperparameters))
