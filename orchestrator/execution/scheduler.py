"""Carries out a schedule on Ray and yields events. It knows stages, keys and resources, no models or metrics."""

from collections.abc import Generator, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from math import ceil
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ifmmin.data.corpus import Corpus
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.execution.events import (
    EpochEnded,
    Event,
    Failed,
    Finished,
    Retried,
    Skipped,
    StageFailure,
    Started,
    Tick,
)
from ifmmin.orchestrator.execution.interruption import raise_if_interrupted
from ifmmin.orchestrator.execution.mailbox import collect
from ifmmin.orchestrator.execution.resources import LOOKAHEAD, Room
from ifmmin.orchestrator.execution.schedule import Retry, Schedule, Stop
from ifmmin.orchestrator.execution.workers import SecondsOrFailure, Workers
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.planning.plan import Plan, stages_to_run
from ifmmin.orchestrator.planning.stage import Stage
from ifmmin.orchestrator.store import Store, StoreError

TICK_S = 0.25
SHORT_S = 0.25
"""Stages shorter than this are submitted several at once: Ray needs some milliseconds for each task."""


def run_plan(plan: Plan, corpus: Corpus, store: Store, compute: Compute) -> Generator[Event, None, None]:
    """Run the stages of a plan that the store lacks, as many at once as the resources allow.

    A stage that fails is recorded with its traceback, what depends on it is skipped, everything else goes on. Ray is
    left when the iterator ends or is closed.

    Raises:
        StoreError: results cannot be written, so the run ends.
        UserError: the Ray cluster cannot be joined, or lacks the GPU that stages need.
    """
    stages = stages_to_run(plan, store.completed(plan.stages))
    if not stages:
        return
    with ray_session(compute):
        scheduler = Scheduler(Workers.start(corpus, store, compute), store)
        scheduler.add(stages)
        try:
            while not scheduler.schedule.finished:
                yield from scheduler.step()
        finally:
            scheduler.cancel()


class Scheduler:
    """Submits ready stages to workers, and turns their outcomes into events."""

    def __init__(self, workers: Workers, store: Store) -> None:
        self.schedule = Schedule(workers.compute.retries, workers.share)
        self._workers, self._store = workers, store
        self._stages: dict[str, Stage] = {}
        self._running: dict[Any, Sequence[Stage]] = {}
        self._seconds: dict[Hashable, float] = {}
        self._room = Room(workers.compute, workers.device)

    def add(self, stages: Sequence[Stage]) -> list[Event]:
        """Add stages that are not in the store, see `Schedule.add`."""
        self._stages.update((stage.key, stage) for stage in stages)
        return [Skipped(stage) for stage in self.schedule.add(stages)]

    def step(self, wake: Sequence[Any] = ()) -> Iterator[Event]:
        """Submit ready stages, and wait briefly for events.

        Args:
            wake: references of Ray that end the waiting, too.

        Raises:
            StoreError: results cannot be written or are not seen here.
            ResourceError: the cluster lacks what every stage needs, and cannot grow.
        """
        raise_if_interrupted()
        yield from self._room.look()
        self._submit()
        if watched := [*self._running, *wake]:
            ray.wait(watched, timeout=TICK_S)
        ended: list[Any] = []
        if self._running:
            ended, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        for key, epoch in collect(self._workers.mailbox):
            yield Started(self._stages[key]) if epoch is None else EpochEnded(self._stages[key], epoch)
        for reference in ended:
            stages = self._running.pop(reference)
            for stage, outcome in zip(stages, _outcomes(reference, len(stages)), strict=True):
                yield from self._settle(stage, outcome)
        yield Tick()

    def cancel(self) -> None:
        """Stop what is still running; a session of Ray that outlives the scheduler would continue it."""
        with suppress(RayError):  # the session may have ended
            for reference in self._running:
                ray.cancel(reference, force=True)
        self._running.clear()

    def _submit(self) -> None:
        while len(self._running) < self._room.window:
            stages = self.schedule.take(self._size)
            if not stages:
                return
            self._running[self._workers.submit(stages, self.schedule.share(stages[0]))] = stages

    def _size(self, stage: Stage, alike: int) -> int:
        """How many stages one task should compute: those that train as one, or several that are short one by one."""
        together = self._workers.runs_per_task(alike, self._room.places) if stage.action == "train" else 1
        if together > 1 or stage.kind not in self._seconds:
            return together
        short = ceil(SHORT_S / max(self._seconds[stage.kind], 1e-3))
        return min(short, ceil(alike / (LOOKAHEAD * self._room.places)))

    def _settle(self, stage: Stage, outcome: SecondsOrFailure) -> Iterator[Event]:
        if isinstance(outcome, StageFailure):
            yield from self._fail(stage, outcome)
            return
        if not self._store.completed([stage.key]):
            raise StoreError(
                f"A worker wrote stage {stage.key} to {self._store.location}, and it is not there on this machine; "
                "on several machines --storage must be a folder that they share, or a bucket (s3://, gs://)."
            )
        self._seconds[stage.kind] = outcome
        self.schedule.finish(stage.key)
        yield Finished(stage, outcome)

    def _fail(self, stage: Stage, failure: StageFailure) -> Iterator[Event]:
        decision, skipped = self.schedule.fail(stage.key, failure)
        if isinstance(decision, Stop):
            raise StoreError(failure.reason)
        if isinstance(decision, Retry):
            yield Retried(stage, decision.why)
            return
        yield Failed(stage, replace(failure, traceback=self._store.write_failure(stage.key, failure.traceback)))
        for other in skipped:
            yield Skipped(other)


def _outcomes(reference: Any, count: int) -> Sequence[SecondsOrFailure]:
    """The outcomes of a task that has ended, or for each of its stages why Ray could not compute it."""
    try:
        outcomes: list[SecondsOrFailure] = ray.get(reference)
    except RayTaskError as error:
        return [StageFailure(f"{type(error.cause).__name__}: {error.cause}", str(error))] * count
    except RayError as error:
        lines = str(error).strip().splitlines() or ["no reason given"]
        return [StageFailure(f"{type(error).__name__}: {lines[0]}", str(error), "lost")] * count
    return outcomes
