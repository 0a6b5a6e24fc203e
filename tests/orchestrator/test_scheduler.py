"""Plans really run by Ray: slow for Ray's start-up and its workers' imports."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from ifmmin.data.corpus import Corpus, Sequences
from ifmmin.orchestrator.execution import resources, scheduler
from ifmmin.orchestrator.execution.events import (
    ClusterChanged,
    EpochEnded,
    Event,
    Finished,
    Outcome,
    Retried,
    StageFailure,
    Started,
)
from ifmmin.orchestrator.execution.scheduler import run_plan
from ifmmin.orchestrator.execution.stages import execute
from ifmmin.orchestrator.execution.workers import Workers, failure_of
from ifmmin.orchestrator.planning.configuration import Compute, Configuration, load_configuration
from ifmmin.orchestrator.planning.plan import Plan, make_plan
from ifmmin.orchestrator.planning.stage import Stage
from ifmmin.orchestrator.store import Store, StoreError
from tests.gate import Gate, wait_until
from tests.small import IF_MMIN, make_corpus

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

CORPUS = replace(make_corpus(), fingerprint="small")


def configure(workers: int, **overrides: object) -> Configuration:
    changes = {"hyperparameters": {"epochs": 2}, "compute": {"workers": workers}, **overrides}
    return load_configuration(IF_MMIN, changes)


@dataclass
class Record:
    """What the events of a plan say."""

    outcome: Outcome = field(default_factory=Outcome)
    epochs: dict[str, list[int]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        self.outcome.take(event)
        if isinstance(event, ClusterChanged):
            assert "CPU" in event.description
        elif isinstance(event, Started):
            self.started.append(event.stage.key)
        elif isinstance(event, EpochEnded):
            self.epochs.setdefault(event.stage.key, []).append(event.epoch.epoch)
        elif isinstance(event, Retried):
            self.retried.append(event.stage.key)
        elif isinstance(event, Finished):
            assert event.seconds > 0


def run(plan: Plan, store: Store, compute: Compute, corpus: Corpus = CORPUS) -> Record:
    record = Record()
    for event in run_plan(plan, corpus, store, compute):
        record.take(event)
    return record


def compute_alone(plan: Plan, store: Store, corpus: Corpus = CORPUS) -> None:
    """Every stage, one after the other in this process, without Ray."""
    for stage in plan.stages.values():
        store.write_stage(stage, execute(stage, corpus, store.read_upstream(stage)))


def contents(plan: Plan, store: Store) -> dict[str, bytes]:
    """Weights and predictions of every stage, bit for bit."""
    bits = {}
    for stage in plan.stages.values():
        if stage.action == "train":
            bits[stage.key] = b"".join(value.tobytes() for _, value in sorted(store.read_weights(stage.key).items()))
        else:
            bits[stage.key] = str(store.read_table(stage.key, "predictions").to_pydict()).encode()
    return bits


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    plan, store = make_plan(configure(1), CORPUS), Store(tmp_path_factory.mktemp("plain"))
    compute_alone(plan, store)
    return plan, store


@pytest.mark.slow
def test_an_interrupted_run_resumes_with_the_same_bits(
    undisturbed: tuple[Plan, Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    plan, expected = undisturbed
    store, gate = Store(tmp_path / "store"), Gate(tmp_path / "gate")
    gate.admit(4)
    with monkeypatch.context() as patch, closing(run_plan(plan, CORPUS, store, Compute(workers=2))) as events:
        patch.setenv(*gate.variable)
        finished = {event.stage.key for event in islice((e for e in events if isinstance(e, Finished)), 4)}
    assert not ray.is_initialized()
    assert store.completed(plan.stages) == finished
    request.getfixturevalue("two_workers")
    record = run(plan, store, Compute(workers=2))
    assert set(record.outcome.done) == set(plan.stages) - finished
    assert contents(plan, store) == contents(plan, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
@pytest.mark.parametrize("workers", [1, 2])
def test_results_do_not_depend_on_ray_or_the_number_of_workers(
    undisturbed: tuple[Plan, Store], tmp_path: Path, workers: int
) -> None:
    plan, expected = undisturbed
    record = run(plan, Store(tmp_path), Compute(workers=workers))
    assert sorted(record.outcome.done) == sorted(plan.stages)
    assert contents(plan, Store(tmp_path)) == contents(plan, expected)
    assert all(record.epochs[stage.key] == [1, 2] for stage in plan.stages.values() if stage.epochs)
    assert list(run_plan(plan, CORPUS, Store(tmp_path), Compute(workers=workers))) == []


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_a_shared_pretraining_runs_once_and_is_the_same_whichever_system_needs_it(tmp_path: Path) -> None:
    def plan_of(*systems: str) -> Plan:
        hyperparameters = {"epochs": 1} | ({"steps": 4} if "mctn" in systems else {})
        return make_plan(configure(2, systems=systems, folds="1", hyperparameters=hyperparameters), CORPUS)

    everything, alone = plan_of("mmin", "fusion", "mctn"), plan_of("fusion")
    together, by_itself = Store(tmp_path / "together"), Store(tmp_path / "alone")
    record = run(everything, together, Compute(workers=2))
    assert sorted(record.outcome.done) == sorted(everything.stages)
    compute_alone(alone, by_itself)
    assert contents(alone, together) == contents(alone, by_itself)


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_nothing_goes_on_in_a_session_of_the_callers_when_the_events_are_closed(tmp_path: Path) -> None:
    plan = make_plan(configure(2, hyperparameters={"epochs": 10_000}), CORPUS)
    with closing(run_plan(plan, CORPUS, Store(tmp_path), Compute(workers=2))) as events:
        next(event for event in events if isinstance(event, EpochEnded))
        assert ray.available_resources().get("CPU", 0) < 2  # type: ignore[no-untyped-call]
    wait_until(lambda: ray.available_resources().get("CPU", 0) == 2)  # type: ignore[no-untyped-call]


def spoilt_in_the_first_fold() -> Corpus:
    """Only the first fold trains on the utterances that are not numbers; the losses there become NaN."""
    sequences = CORPUS.sequences["v"]
    values = sequences.values.copy()
    values[: sequences.offsets[len(CORPUS) // 3]] = np.nan
    return replace(CORPUS, sequences={**CORPUS.sequences, "v": Sequences(values, sequences.offsets)})


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_a_failing_stage_skips_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    corpus = spoilt_in_the_first_fold()
    plan = make_plan(configure(2), corpus)
    outcome = run(plan, Store(tmp_path), Compute(workers=2), corpus).outcome
    first = plan.runs[0]
    assert list(outcome.failed) == [first.stages["pretrain"]]
    assert sorted(outcome.skipped) == sorted([first.stages["train"], first.stages["evaluate"]])
    assert set(outcome.done) == {key for r in plan.runs[1:] for key in r.stages.values()}
    failure = outcome.failed[first.stages["pretrain"]]
    assert "DivergedError" in failure.reason
    assert "DivergedError" in Path(failure.traceback).read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_runs_that_train_as_one_are_kept_one_by_one_and_fail_one_by_one(tmp_path: Path) -> None:
    corpus = spoilt_in_the_first_fold()
    configuration = configure(2, seeds="0-1", compute={"workers": 2, "runs_per_task": 4})
    plan = make_plan(configuration, corpus)
    assert len(plan.runs) == 6
    record = run(plan, Store(tmp_path), configuration.compute, corpus)
    spoilt = [planned for planned in plan.runs if planned.fold == 1]
    assert sorted(record.outcome.failed) == sorted(planned.stages["pretrain"] for planned in spoilt)
    skipped = sorted(planned.stages[name] for planned in spoilt for name in ("train", "evaluate"))
    assert sorted(record.outcome.skipped) == skipped
    assert len(record.started) == len(set(record.started))
    store = Store(tmp_path)
    for planned in plan.runs:
        if planned.fold == 2:
            stage = plan.stages[planned.stages["train"]]
            alone = execute(stage, corpus, store.read_upstream(stage))
            kept = store.read_weights(stage.key)
            assert max(float(np.abs(kept[name] - value).max()) for name, value in alone.weights.items()) < 1e-3
            assert store.read_table(stage.key, "history").num_rows == 2


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_results_that_cannot_be_kept_end_the_run_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("a file where a folder should be")
    plan = make_plan(configure(1, folds="1"), CORPUS)
    with pytest.raises(StoreError, match="cannot be written"):
        run(plan, Store(tmp_path), Compute(workers=1))


@ray.remote(num_cpus=0)
def starve() -> list[StageFailure]:
    return [failure_of(torch.OutOfMemoryError("CUDA out of memory"))]


class Starved(Workers):
    """Workers that believe in a GPU, on all of which a stage is done and on less of it is not."""

    @classmethod
    def start(cls, *arguments: Any) -> Workers:
        return cls(**{**vars(Workers.start(*arguments)), "device": "cuda"})

    def runs_per_task(self, alike: int, places: int) -> int:  # noqa: ARG002
        return 1

    def submit(self, stages: Sequence[Stage], share: float) -> Any:
        if share < 1:
            return starve.remote()
        return Workers(**{**vars(self), "device": "cpu"}).submit(stages, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_a_stage_that_is_out_of_gpu_memory_gets_more_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(configure(1, folds="1"), CORPUS)
    monkeypatch.setattr(scheduler, "Workers", Starved)
    monkeypatch.setattr(resources, "_resources", lambda: {"CPU": 2.0, "GPU": 1.0})
    record = run(plan, Store(tmp_path), Compute(workers=1))
    assert sorted(record.outcome.done) == sorted(plan.stages)
    pretrain, train, evaluate = plan.runs[0].stages.values()
    counts = [record.retried.count(key) for key in (pretrain, train, evaluate)]
    assert counts == [2, 2, 4]  # from 1/4 and 1/10 to the whole


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory.\nTried 2 GiB"),
            "gpu-memory",
            "OutOfMemoryError: CUDA out of memory.",
        ),
        (StoreError("The disk is full."), "storage", "The disk is full."),
        (ValueError("no"), "error", "ValueError: no"),
        (ValueError(), "error", "ValueError: no reason given"),
    ],
)
def test_a_failure_says_why_in_one_line(error: Exception, kind: str, reason: str) -> None:
    failure = failure_of(error)
    assert (failure.kind, failure.reason) == (kind, reason)
    assert type(error).__name__ in failure.traceback
