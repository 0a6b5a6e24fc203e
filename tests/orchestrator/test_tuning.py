"""Searches over objectives that cost nothing, on real Tune: slow for Ray's and Tune's start-up."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import ray

from ifmmin.model.hyperparameters import Hyperparameter
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.planning.configuration import Compute, Range, Search
from ifmmin.orchestrator.search.space import Dimension
from ifmmin.orchestrator.search.trials import Trial
from ifmmin.orchestrator.search.tuning import Task, prepare_environment, run_trials

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

FOLDS = [3, 1, 2, 4, 5]


@ray.remote(num_cpus=0)
class Planted:
    """Best at lambda2 = 30 and K = 3; folds differ in difficulty by more than hyperparameters do."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []

    def validate(self, hyperparameters: dict[str, float], fold: int) -> list[float]:
        self.calls.append((hyperparameters["lambda2"], fold))
        distance = math.log10(hyperparameters["lambda2"] / 30) ** 2 + 0.1 * (hyperparameters["moment_order"] - 3) ** 2
        return [0.9 - 0.1 * fold - 0.05 * distance]

    def questions(self) -> list[tuple[float, int]]:
        return self.calls


class Kept:
    def __init__(self, known: list[Trial] | None = None) -> None:
        self.trials = dict(enumerate(known or []))

    def __call__(self, number: int, trial: Trial) -> None:
        self.trials[number] = trial


def task(trials: int, **options: Any) -> Task:
    space = {
        "lambda2": Dimension(Hyperparameter("lambda2", "float", 100.0, ""), Range(low=0.1, high=1000, log=True)),
        "moment_order": Dimension(Hyperparameter("moment_order", "int", 5, ""), Range(low=1, high=7)),
    }
    return Task(Search(trials=trials, **options), space, {"lambda2": 100.0, "moment_order": 5}, FOLDS, seed=0)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    prepare_environment()
    with ray_session(Compute(workers=2)):
        yield


def test_a_planted_optimum_is_found_and_poor_trials_are_stopped() -> None:
    kept = Kept()
    run_trials(task(25), Planted.remote(), [], 3, kept)  # type: ignore[attr-defined]
    assert len(kept.trials) == 25
    assert kept.trials[0].hyperparameters == {"lambda2": 100, "moment_order": 5}
    assert {trial.state for trial in kept.trials.values()} == {"completed", "stopped"}
    best = max((t for t in kept.trials.values() if t.state == "completed"), key=lambda t: t.means[-1])
    assert 10 < float(best.hyperparameters["lambda2"]) < 100
    assert 2 <= float(best.hyperparameters["moment_order"]) <= 4
    first = kept.trials[0].means
    assert best.means[len(first) - 1] > first[-1]
    visited = sum(len(trial.means) for trial in kept.trials.values())
    assert visited < 0.8 * 25 * len(FOLDS)
    for trial in kept.trials.values():
        assert type(trial.hyperparameters["moment_order"]) is int
        common = min(len(first), len(trial.means)) - 1  # over the same folds only hyperparameters count
        assert first[0] - trial.means[0] == pytest.approx(first[common] - trial.means[common])


def test_known_trials_are_taken_as_they_ended_and_the_unfinished_go_on() -> None:
    first = Kept()
    run_trials(task(4, scheduler="none"), Planted.remote(), [], 2, first)  # type: ignore[attr-defined]
    completed, other, *_ = first.trials.values()
    stopped = Trial(other.hyperparameters, other.means[:2], "stopped")
    unfinished = Trial({"lambda2": 7.0, "moment_order": 2}, (0.5,), "running")
    failed = Trial({"lambda2": 9.0, "moment_order": 2}, (), "failed", "a reason")
    known = [completed, stopped, unfinished, failed]
    second, objective = Kept(known), Planted.remote()  # type: ignore[attr-defined]
    run_trials(task(5, scheduler="none"), objective, known, 2, second)
    assert len(second.trials) == 5
    assert [second.trials[n].state for n in range(5)] == ["completed", "stopped", "completed", "completed", "completed"]
    assert second.trials[0] == completed
    assert second.trials[1] == stopped
    assert [len(second.trials[n].means) for n in (2, 3, 4)] == 3 * [len(FOLDS)]
    calls = ray.get(objective.questions.remote())
    assert [fold for value, fold in calls if value == stopped.hyperparameters["lambda2"]] == FOLDS[:2]


def test_a_finite_space_is_searched_without_copies_and_to_its_end_when_resumed() -> None:
    space = {
        "lambda2": Dimension(Hyperparameter("lambda2", "float", 100.0, ""), (10.0, 30.0)),
        "moment_order": Dimension(Hyperparameter("moment_order", "int", 5, ""), Range(low=1, high=4, log=True)),
        "cycle": Dimension(Hyperparameter("cycle", "bool", True, ""), (True, False)),
    }
    whole = Task(Search(trials=30, scheduler="none"), space, None, FOLDS[:1], seed=2**32 - 1)
    first = Kept()
    few = replace(whole, search=Search(trials=9, scheduler="none"))
    run_trials(few, Planted.remote(), [], 3, first)  # type: ignore[attr-defined]
    assert len({tuple(trial.hyperparameters.items()) for trial in first.trials.values()}) == 9
    known = list(first.trials.values())
    second = Kept(known)
    run_trials(whole, Planted.remote(), known, 3, second)  # type: ignore[attr-defined]
    assert [second.trials[number] for number in range(9)] == known
    assert len(second.trials) == len({tuple(trial.hyperparameters.items()) for trial in second.trials.values()}) == 16


@ray.remote(num_cpus=0)
class Failing:
    def validate(self, hyperparameters: dict[str, float], fold: int) -> list[float]:
        if hyperparameters["lambda2"] == 100 and fold == 1:
            raise ValueError("the loss is not finite")
        return [0.5]


def test_a_failed_trial_is_reported_with_its_reason_and_the_others_continue() -> None:
    kept = Kept()
    run_trials(task(3), Failing.remote(), [], 2, kept)  # type: ignore[attr-defined]
    assert [kept.trials[n].state for n in range(3)].count("failed") == 1
    assert (kept.trials[0].state, len(kept.trials[0].means)) == ("failed", 1)
    assert "the loss is not finite" in kept.trials[0].reason
