"""What every system must do; a system is tested by being registered. The checks are `model.conformance.checks`."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from ifmmin.data.batches import Examples
from ifmmin.model.conformance.checks import CHECKS, Check, Subject, check_learning, check_stacking
from ifmmin.model.conformance.training import train_system
from ifmmin.model.definition import System
from ifmmin.model.evaluation import predict
from ifmmin.model.hyperparameters import hyperparameters_of
from ifmmin.model.systems import DEFINITIONS, REFERENCE, SYSTEMS
from tests.small import ALL_CONDITIONS, make_corpus

CORPUS = make_corpus(utterances=96)

EACH_SYSTEM = [
    pytest.param(system, id=name, marks=[] if name == REFERENCE else pytest.mark.slow)
    for name, system in SYSTEMS.items()
]
"""Training all of them takes a minute, so that the fast tests try the reference alone."""

LONG = (check_learning, check_stacking)
"""These train 30 epochs, or four runs twice."""

EACH_CHECK = [
    pytest.param(check, id=check.run.__name__, marks=pytest.mark.slow if check.run in LONG else []) for check in CHECKS
]


@pytest.fixture(scope="module", params=EACH_SYSTEM)
def system(request: pytest.FixtureRequest) -> System:
    chosen: System = request.param
    return chosen


@pytest.fixture(scope="module")
def subject(system: System) -> Subject:
    return Subject.of(system)


@pytest.mark.parametrize("check", EACH_CHECK)
def test_a_system_passes(check: Check, subject: Subject) -> None:
    check.run(subject)


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


def test_a_definition_has_one_name_and_documented_hyperparameters(system: System) -> None:
    for definition in system.stages.values():
        assert DEFINITIONS[definition.name] is definition
        assert all(item.meaning for item in hyperparameters_of(definition.hyperparameters))
