"""Plans really run by Ray: slow for Ray's start-up and its workers' imports, some seconds each time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from ifmmin.data.corpus import Corpus, Sequences
from ifmmin.model.checkpoint import Epoch
from ifmmin.orchestrator.execution import scheduler
from ifmmin.orchestrator.execution.scheduler import Failure, Outcome, run_plan
from ifmmin.orchestrator.execution.stages import execute
from ifmmin.orchestrator.execution.workers import Workers
from ifmmin.orchestrator.planning.configuration import Compute, Configuration, load_configuration
from ifmmin.orchestrator.planning.plan import Plan, Stage, make_plan
from ifmmin.orchestrator.store import Store, StoreError
from tests.small import make_corpus

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

CORPUS = replace(make_corpus(), fingerprint="small")


class Record:
    """A listener that keeps what it is told."""

    def __init__(self, on_finished: Callable[[Stage], None] = lambda _: None) -> None:
        self.events: list[tuple[str, str]] = []
        self.epochs: dict[str, list[int]] = {}
        self._on_finished = on_finished

    def cluster(self, description: str) -> None:
        assert "CPU" in description

    def started(self, stage: Stage) -> None:
        self.events.append(("started", stage.key))

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        self.epochs.setdefault(stage.key, []).append(epoch.epoch)

    def finished(self, stage: Stage, seconds: float) -> None:
        assert seconds > 0
        self.events.append(("finished", stage.key))
        self._on_finished(stage)

    def retried(self, stage: Stage, why: str) -> None:
        assert why
        self.events.append(("retried", stage.key))

    def failed(self, stage: Stage, failure: Failure) -> None:
        assert failure.reason
        self.events.append(("failed", stage.key))

    def skipped(self, stage: Stage) -> None:
        self.events.append(("skipped", stage.key))

    def tick(self) -> None:
        pass


def configure(workers: int, **overrides: object) -> Configuration:
    return load_configuration("demo", {"parameters": {"epochs": 2}, "compute": {"workers": workers}, **overrides})


def run(plan: Plan, store: Store, workers: int, corpus: Corpus = CORPUS, listener: Record | None = None) -> Outcome:
    return run_plan(plan, corpus, store, configure(workers).compute, listener or Record())


def contents(plan: Plan, store: Store) -> dict[str, bytes]:
    """Weights and predictions of every stage, bit for bit."""
    found = {}
    for stage in plan.stages.values():
        if stage.action == "train":
            found[stage.key] = b"".join(value.tobytes() for _, value in sorted(store.read_weights(stage.key).items()))
        else:
            found[stage.key] = str(store.read_table(stage.key, "predictions").to_pydict()).encode()
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """Every stage computed one after the other in this process, without Ray."""
    plan, store = make_plan(configure(1), CORPUS), Store(tmp_path_factory.mktemp("plain"))
    for stage in plan.stages.values():
        store.write_stage(stage, execute(stage, CORPUS, [store.read_weights(key) for key in stage.upstream]))
    return plan, store


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_results_do_not_depend_on_ray_or_the_number_of_workers(
    undisturbed: tuple[Plan, Store], tmp_path: Path, workers: int
) -> None:
    plan, expected = undisturbed
    listener = Record()
    outcome = run(plan, Store(tmp_path), workers, listener=listener)
    assert sorted(outcome.done) == sorted(plan.stages)
    assert contents(plan, Store(tmp_path)) == contents(plan, expected)
    assert all(listener.epochs[stage.key] == [1, 2] for stage in plan.stages.values() if stage.epochs)
    again = Record()
    assert run(plan, Store(tmp_path), workers, listener=again) == Outcome()
    assert again.events == []


@pytest.mark.slow
def test_a_shared_pretraining_runs_once_and_is_the_same_whoever_asked(tmp_path: Path) -> None:
    def plan_of(*systems: str) -> Plan:
        parameters = {"epochs": 1} | ({"steps": 4} if "mctn" in systems else {})
        return make_plan(configure(2, systems=systems, folds="1", parameters=parameters), CORPUS)

    everything, alone = plan_of("mmin", "fusion", "mctn"), plan_of("fusion")
    together, by_itself = Store(tmp_path / "together"), Store(tmp_path / "alone")
    listener = Record()
    run(everything, together, 2, listener=listener)
    finished = [key for event, key in listener.events if event == "finished"]
    assert sorted(finished) == sorted(everything.stages)
    for stage in alone.stages.values():
        by_itself.write_stage(stage, execute(stage, CORPUS, [by_itself.read_weights(key) for key in stage.upstream]))
    assert contents(alone, together) == contents(alone, by_itself)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was_with_the_same_bits(
    undisturbed: tuple[Plan, Store], tmp_path: Path
) -> None:
    plan, expected = undisturbed
    store, finished = Store(tmp_path), []

    def interrupt(stage: Stage) -> None:
        finished.append(stage.key)
        if len(finished) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, store, 2, listener=Record(interrupt))
    before = store.completed(plan.stages)
    assert set(finished) <= before
    outcome = run(plan, store, 2)
    assert set(outcome.done) == set(plan.stages) - before
    assert contents(plan, store) == contents(plan, expected)


def spoilt_in_the_first_fold() -> Corpus:
    """Only the first fold trains on the utterances that are not numbers; the losses there become NaN."""
    sequences = CORPUS.sequences["v"]
    values = sequences.values.copy()
    values[: sequences.offsets[len(CORPUS) // 3]] = np.nan
    return replace(CORPUS, sequences={**CORPUS.sequences, "v": Sequences(values, sequences.offsets)})


@pytest.mark.slow
def test_a_failing_stage_skips_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    corpus = spoilt_in_the_first_fold()
    plan, listener = make_plan(configure(2), corpus), Record()
    outcome = run(plan, Store(tmp_path), 2, corpus, listener)
    first = plan.runs[0]
    assert list(outcome.failed) == [first.stages["pretrain"]]
    assert sorted(outcome.skipped) == sorted([first.stages["train"], first.stages["evaluate"]])
    assert set(outcome.done) == {key for r in plan.runs[1:] for key in r.stages.values()}
    failure = outcome.failed[first.stages["pretrain"]]
    assert "DivergedError" in failure.reason
    assert "DivergedError" in Path(failure.traceback).read_text()


@pytest.mark.slow
def test_runs_that_train_as_one_are_kept_one_by_one_and_fail_one_by_one(tmp_path: Path) -> None:
    corpus, listener = spoilt_in_the_first_fold(), Record()
    configuration = configure(2, seeds="0-1", compute={"workers": 2, "runs_per_task": 4})
    plan = make_plan(configuration, corpus)
    assert len(plan.runs) == 6
    outcome = run_plan(plan, corpus, Store(tmp_path), configuration.compute, listener)
    spoilt = [own for own in plan.runs if own.fold == 1]
    assert sorted(outcome.failed) == sorted(own.stages["pretrain"] for own in spoilt)
    assert sorted(outcome.skipped) == sorted(own.stages[name] for own in spoilt for name in ("train", "evaluate"))
    started = [key for event, key in listener.events if event == "started"]
    assert len(started) == len(set(started))
    for own in plan.runs:
        if own.fold == 2:
            stage, store = plan.stages[own.stages["train"]], Store(tmp_path)
            alone = execute(stage, corpus, [store.read_weights(key) for key in stage.upstream])
            kept = store.read_weights(stage.key)
            assert max(float(np.abs(kept[name] - value).max()) for name, value in alone.weights.items()) < 1e-3
            assert store.read_table(stage.key, "history").num_rows == 2


@pytest.mark.slow
def test_results_that_cannot_be_kept_end_the_run_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("a file where a folder should be")
    plan = make_plan(configure(1, folds="1"), CORPUS)
    with pytest.raises(StoreError, match="cannot be written"):
        run(plan, Store(tmp_path), 1)


@ray.remote(num_cpus=0)
def starve() -> tuple[None, None]:
    raise torch.OutOfMemoryError


class Starved(Workers):
    """Workers that believe in a GPU, on all of which a stage is done and on less of it is not."""

    @classmethod
    def start(cls, *arguments: Any) -> Workers:
        return cls(**{**vars(Workers.start(*arguments)), "device": "cuda"})

    def runs_per_task(self, alike: int, places: int) -> int:  # noqa: ARG002
        return 1

    def submit(
        self, stages: Sequence[Stage], upstream: Sequence[Sequence[Any]], share: float | None = None
    ) -> list[tuple[Any, Any]]:
        if (share or self.share(stages[0])) < 1:
            return [tuple(starve.options(num_returns=2).remote())]
        return Workers(**{**vars(self), "device": "cpu"}).submit(stages, upstream, share=0)


@pytest.mark.slow
def test_a_stage_that_is_out_of_gpu_memory_gets_more_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, listener = make_plan(configure(1, folds="1"), CORPUS), Record()
    monkeypatch.setattr(scheduler, "Workers", Starved)
    assert sorted(run(plan, Store(tmp_path), 1, listener=listener).done) == sorted(plan.stages)
    retried = [key for event, key in listener.events if event == "retried"]
    pretrain, train, evaluate = plan.runs[0].stages.values()
    assert [retried.count(key) for key in (pretrain, train, evaluate)] == [2, 2, 4]  # from 1/4 and 1/10 to the whole


def test_only_what_lacks_gpu_memory_gets_more_of_it() -> None:
    workers = Workers(None, None, Compute(), "cuda")
    assert workers.larger_share(0.25, torch.OutOfMemoryError()) == 0.5
    assert workers.larger_share(0.6, torch.OutOfMemoryError()) == 1
    assert workers.larger_share(1.0, torch.OutOfMemoryError()) is None
    assert workers.larger_share(0.25, ValueError()) is None
