"""Runs a search: Tune chooses the trials, and the scheduler of `execution` computes the stages they need."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
import ray

from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.execution.events import Event
from ifmmin.orchestrator.execution.resources import on_this_node, slots
from ifmmin.orchestrator.execution.scheduler import Scheduler
from ifmmin.orchestrator.execution.workers import Workers
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.stage import Stage
from ifmmin.orchestrator.search.desk import Desk, Question
from ifmmin.orchestrator.search.space import check_space, first_hyperparameters, search_of
from ifmmin.orchestrator.search.trials import (
    SearchRecord,
    Trial,
    TrialPlans,
    fold_order,
    runs_of_fold,
    trained_stages,
)
from ifmmin.orchestrator.search.tuning import Task, prepare_environment, run_trials
from ifmmin.orchestrator.store import Store


@dataclass(frozen=True)
class TrialChanged:
    """A trial has begun, visited a fold or ended; trials are numbered from 0."""

    number: int
    trial: Trial


def run_search(
    experiment: Experiment, record: SearchRecord, plans: TrialPlans
) -> Generator[Event | TrialChanged, None, None]:
    """Run the trials of a search that are missing. Ray is left when the iterator ends or is closed.

    Args:
        record: the trials of earlier calls.

    Raises:
        StoreError: results cannot be written, so the search ends.
        UserError: the Ray cluster cannot be joined.
    """
    configuration, corpus = experiment.configuration, experiment.corpus
    task = Task(
        search_of(configuration),
        check_space(configuration, corpus),
        first_hyperparameters(configuration, corpus),
        fold_order(experiment.plan),
        configuration.seeds[0],
    )
    prepare_environment()
    with ray_session(configuration.compute):
        scheduler = Scheduler(Workers.start(corpus, experiment.store, configuration.compute), experiment.store)
        desk = Desk.options(scheduling_strategy=on_this_node()).remote()  # type: ignore[attr-defined]
        tuning = _Tuning(task, desk, record.trials, slots(configuration.compute))
        try:
            yield from _serve(desk, tuning, scheduler, _Questions(scheduler, experiment.store, plans))
        finally:
            scheduler.cancel()


class _Tuning(Thread):
    """Tune, which blocks until all trials have ended, in a thread of its own."""

    def __init__(self, task: Task, desk: Any, known: Sequence[Trial], at_once: int) -> None:
        super().__init__(daemon=True)
        self._arguments = task, desk, known, at_once
        self._changes: SimpleQueue[TrialChanged] = SimpleQueue()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            run_trials(*self._arguments, lambda number, trial: self._changes.put(TrialChanged(number, trial)))
        except BaseException as error:  # raised again where the thread is waited for
            self._error = error

    def changes(self) -> Iterator[TrialChanged]:
        """The changes of trials since the last call.

        Raises:
            Exception: whatever ended Tune.
        """
        try:
            while True:
                yield self._changes.get_nowait()
        except Empty:
            if self._error is not None:
                raise self._error from None


def _serve(desk: Any, tuning: _Tuning, scheduler: Scheduler, questions: "_Questions") -> Iterator[Event | TrialChanged]:
    tuning.start()
    pending = desk.questions.remote()
    while tuning.is_alive():
        yield from scheduler.step([pending])
        if ray.wait([pending], timeout=0)[0]:
            for question in ray.get(pending):
                yield from questions.open(question)
            pending = desk.questions.remote()
        questions.answer(desk)
        yield from tuning.changes()
    yield from tuning.changes()


class _Questions:
    """The questions of trials that wait for stages."""

    def __init__(self, scheduler: Scheduler, store: Store, plans: TrialPlans) -> None:
        self._scheduler, self._store, self._plans = scheduler, store, plans
        self._open: dict[int, list[list[Stage]]] = {}
        self._complete: set[str] = set()

    def open(self, question: Question) -> Iterator[Event]:
        """Have the stages computed that a question needs and the store lacks."""
        plan = self._plans.of(question.hyperparameters)
        runs = [trained_stages(plan, run) for run in runs_of_fold(plan, question.fold)]
        stages = [stage for run in runs for stage in run]
        self._complete |= self._store.completed(stage.key for stage in stages)
        yield from self._scheduler.add([stage for stage in stages if stage.key not in self._complete])
        self._open[question.number] = runs

    def answer(self, desk: Any) -> None:
        """Answer the questions whose stages are complete or have failed."""
        schedule = self._scheduler.schedule
        for number, runs in list(self._open.items()):
            stages = [stage for run in runs for stage in run]
            if failed := [stage for stage in stages if stage.key in schedule.failed]:
                desk.refuse.remote(number, schedule.failed[failed[0].key].reason)
            elif all(stage.key in schedule.done or stage.key in self._complete for stage in stages):
                desk.answer.remote(number, [self._score(run) for run in runs])
            else:
                continue
            del self._open[number]

    def _score(self, stages: Sequence[Stage]) -> float:
        """Validation UA of a run: of the epoch that is selected, the mean over the networks that are evaluated."""
        upstream: set[str] = {key for stage in stages for key in stage.upstream.values()}
        histories = [self._store.read_table(stage.key, "history") for stage in stages if stage.key not in upstream]
        return float(np.mean([max(history["validation/ua"].to_pylist()) for history in histories]))
