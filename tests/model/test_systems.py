"""What every system must do; a system is tested by being registered."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import torch
from scipy import stats

from ifmmin.data.batches import Batch, Examples
from ifmmin.data.conditions import ALL_CONDITIONS
from ifmmin.data.corpus import Corpus, Sequences
from ifmmin.model.definition import Network, Shape, StageDefinition, System, Weights
from ifmmin.model.evaluation import predict
from ifmmin.model.history import Checkpoint, Epoch
from ifmmin.model.hyperparameters import TrainingHyperparameters
from ifmmin.model.run import Start, Trained, TrainingRun
from ifmmin.model.systems import DEFINITIONS, SYSTEMS
from ifmmin.model.training import train, trained_network
from tests.small import DIMENSIONS, make_corpus

CORPUS = make_corpus(utterances=96)


@dataclass(frozen=True)
class TrainedSystem:
    """The network that predicts, with the weights and the histories of all stages in order."""

    network: Network
    weights: list[Weights]
    histories: list[tuple[Epoch, ...]]


def parameters_of(recipe: StageDefinition, **settings: float) -> TrainingHyperparameters:
    """Hyperparameters fit for a tiny corpus."""
    known = {item.name for item in fields(recipe.hyperparameters)}
    tiny = {"batch_size": 16, "learning_rate": 2e-3, "steps": 8, **settings}
    return recipe.hyperparameters(**{name: value for name, value in tiny.items() if name in known})  # type: ignore[arg-type]


class BreakingOff:
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


def train_twice(*arguments: Any, **keywords: Any) -> Trained:
    """Train until the first epoch has been kept, and then from there."""
    checkpoints = BreakingOff()
    with pytest.raises(InterruptedError):
        train(*arguments, **keywords, checkpoints=checkpoints)
    assert checkpoints.kept is not None
    assert len(checkpoints.kept.history) == 1
    return train(*arguments, **keywords, checkpoints=checkpoints)


def train_system(
    system: System, corpus: Corpus, *, train: Callable[..., Trained] = train, **settings: float
) -> TrainedSystem:
    """All stages of a system on the first fold."""
    trained: dict[str, list[Trained]] = {}
    stage = ""
    for stage, recipe in system.stages.items():
        upstream = trained[recipe.after][0].weights if recipe.after else None
        trained[stage] = [
            train(
                recipe,
                parameters_of(recipe, **settings),
                corpus,
                fold=1,
                seed=0,
                weights=upstream,
                condition=condition,
            )
            for condition in recipe.conditions or (None,)
        ]
    last, parts = system.stages[stage], [part for parts in trained.values() for part in parts]
    network = trained_network(
        last, parameters_of(last, **settings), Shape.of(corpus), [part.weights for part in trained[stage]]
    )
    return TrainedSystem(network, [part.weights for part in parts], [part.history for part in parts])


@pytest.fixture(scope="module", params=SYSTEMS.values(), ids=SYSTEMS.keys())
def system(request: pytest.FixtureRequest) -> System:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def briefly(system: System) -> TrainedSystem:
    return train_system(system, CORPUS, epochs=2)


def test_predictions_are_probabilities_of_every_class_in_every_condition(
    briefly: TrainedSystem,
) -> None:
    probabilities = predict(briefly.network, Examples(CORPUS, 1, "test"), ALL_CONDITIONS)
    assert probabilities.shape == (7, 32, 3)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(7, 32))


def test_the_same_seed_gives_the_same_bits(system: System, briefly: TrainedSystem) -> None:
    torch.manual_seed(99)
    again = train_system(system, CORPUS, epochs=2)
    for first, second in zip(briefly.weights, again.weights, strict=True):
        assert all(np.array_equal(second[name], value) for name, value in first.items())


def test_training_that_is_broken_off_goes_on_to_the_same_bits(system: System, briefly: TrainedSystem) -> None:
    resumed = train_system(system, CORPUS, train=train_twice, epochs=2)
    for first, second in zip(briefly.weights, resumed.weights, strict=True):
        assert all(np.array_equal(second[name], value) for name, value in first.items())
    for before, after in zip(briefly.histories, resumed.histories, strict=True):
        assert [replace(epoch, seconds=0) for epoch in after] == [replace(epoch, seconds=0) for epoch in before]


def test_saved_and_loaded_it_predicts_the_same_bits(system: System, briefly: TrainedSystem) -> None:
    last = list(system.stages.values())[-1]
    own = briefly.weights[-len(last.conditions or (None,)) :]
    loaded = [safetensors.numpy.load(safetensors.numpy.save(dict(weights))) for weights in own]
    network = trained_network(last, parameters_of(last, epochs=2), Shape.of(CORPUS), loaded)
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


def test_it_learns_what_every_modality_tells(system: System) -> None:
    trained = train_system(system, CORPUS, epochs=30)
    network = trained.network
    test = Examples(CORPUS, 1, "test")
    correct = (predict(network, test, ALL_CONDITIONS).argmax(-1) == test.labels).float().mean(1)
    assert correct[-1] > 0.8, correct  # chance is a third
    if network.selection != (ALL_CONDITIONS[-1],):
        assert correct.mean() > 0.7, correct
    for history in trained.histories:
        assert history[-1].losses["cls"] < history[0].losses["cls"]


@pytest.mark.slow  # chance is seen only over many runs
def test_labels_permuted_within_training_give_chance(system: System) -> None:
    """A network that sees test labels, on whatever way, would do better."""
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


def test_every_part_of_a_network_is_clipped_once(system: System) -> None:
    for recipe in system.stages.values():
        for condition in recipe.conditions or (None,):
            network = recipe.network(Shape(DIMENSIONS, 3, condition), parameters_of(recipe))
            clipped = [id(parameter) for part in network.sub_networks() for parameter in part.parameters()]
            assert sorted(clipped) == sorted(map(id, network.parameters()))


def test_no_step_depends_on_what_is_in_the_memory_of_a_device(system: System, briefly: TrainedSystem) -> None:
    """On the device "meta" tensors have shapes only: to look at a value, for which one waits for a GPU, is an error."""
    for recipe in system.stages.values():
        upstream = briefly.weights[0] if recipe.after else None
        for condition in recipe.conditions or (None,):
            run = TrainingRun(recipe, parameters_of(recipe), CORPUS, Start(1, 0, upstream), condition, "cpu")
            batch = run.training.batch(torch.arange(8))
            features, lengths = (
                {m: x.to("meta") for m, x in parts.items()} for parts in (batch.features, batch.lengths)
            )
            batch = Batch(features, lengths, batch.labels.to("meta"), batch.rows.to("meta"))
            run.objective.to("meta")(batch, run.draws).total.backward()
            run.network.logits(batch, run.network.selection)


def test_a_recipe_has_one_name_and_documented_hyperparameters() -> None:
    for system in SYSTEMS.values():
        for stage, recipe in system.stages.items():
            assert DEFINITIONS[recipe.name] is recipe
            assert recipe.after is None or list(system.stages).index(recipe.after) < list(system.stages).index(stage)
            assert all(item.metadata["meaning"] for item in fields(recipe.hyperparameters))
