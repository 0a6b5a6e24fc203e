"""Runs the stages of a plan on Ray. It knows stages, keys and resources, and nothing of models or metrics."""

import re
import time
import traceback
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from ifmmin.data.corpus import Corpus
from ifmmin.data.folder import FolderError
from ifmmin.model.checkpoint import Epoch
from ifmmin.orchestrator.execution.cluster import describe_cluster, ray_session, slots
from ifmmin.orchestrator.execution.mailbox import Message, collect
from ifmmin.orchestrator.execution.workers import Failed, Workers
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.planning.plan import Plan, Stage, stages_to_run
from ifmmin.orchestrator.store import Store, StoreError

LOOK_EVERY_S = 5.0
LOOKAHEAD = 4
"""Stages handed to Ray for each one that can run: enough that whole runs follow one another without a gap, few enough
that early runs are finished before late ones start."""


@dataclass(frozen=True)
class Failure:
    """Why a stage failed: one line, and the file with its traceback."""

    reason: str
    traceback: str


@dataclass
class Outcome:
    """What became of the stages of a plan, by key."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, Failure] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


class Listener(Protocol):
    """Told on the driver what happens to stages."""

    def cluster(self, description: str) -> None:
        """What Ray has to compute with, at the beginning and when that changes."""

    def started(self, stage: Stage) -> None: ...
    def retried(self, stage: Stage, why: str) -> None: ...
    def epoch(self, stage: Stage, epoch: Epoch) -> None: ...
    def finished(self, stage: Stage, seconds: float) -> None: ...
    def failed(self, stage: Stage, failure: Failure) -> None: ...
    def skipped(self, stage: Stage) -> None: ...
    def tick(self) -> None:
        """Called a few times a second."""


def run_plan(plan: Plan, corpus: Corpus, store: Store, compute: Compute, listener: Listener) -> Outcome:
    """Run what of a plan is not in the store yet, as much at once as the resources allow.

    A stage that fails is recorded with its traceback, what depends on it is skipped, everything else goes on.

    Raises:
        StoreError: results cannot be kept, so that going on would be in vain.
    """
    stages = stages_to_run(plan, store.completed(plan.stages))
    if not stages:
        return Outcome()
    with ray_session(compute):
        return _Session(plan, stages, corpus, store, compute, listener).run()


_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Session:
    """One pass over the stages that are to run, in the order of the plan."""

    def __init__(
        self, plan: Plan, stages: list[Stage], corpus: Corpus, store: Store, compute: Compute, listener: Listener
    ) -> None:
        self.plan, self.store, self.compute, self.listener = plan, store, compute, listener
        self.position = {stage.key: index for index, stage in enumerate(stages)}
        self.waiting = deque(stages)
        self.users_left = Counter(key for stage in stages for key in stage.upstream)
        self.workers = Workers.start(corpus, store, compute)
        self.running: dict[Any, Stage] = {}
        self.tasks: set[Any] = set()
        self.shares: dict[str, float] = {}
        self.begun: set[str] = set()
        self.again: set[str] = set()
        self.looked, self.described, self.places, self.window = -LOOK_EVERY_S, "", 1, 0
        self.weights: dict[str, Any] = {}
        self.outcome = Outcome()

    def run(self) -> Outcome:
        while True:
            self._look_around()
            self._submit()
            if not self.running:
                return self.outcome
            ready, _ = ray.wait(list(self.running), timeout=0.25)
            if ready:
                ready, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
            self._deliver(collect(self.workers.mailbox))
            for reference in sorted(ready, key=lambda item: self.position[self.running[item].key]):
                self.tasks.discard(reference)
                self._finish(self.running.pop(reference), reference)
            self.listener.tick()

    def _submit(self) -> None:
        while self.waiting and len(self.tasks) < self.window:
            stage = self.waiting.popleft()
            if self._upstream_failed(stage):
                self._release(stage.upstream)
                self._skip(stage)
                continue
            together = [stage, *self._take_alike(stage)]
            # A stage that is not among those to run is in the store, where the worker reads it.
            upstream = [[self.weights.get(key, key) for key in own.upstream] for own in together]
            references = self.workers.submit(together, upstream)
            self.tasks.add(references[0][1])
            for own, (weights, seconds) in zip(together, references, strict=True):
                self._release(own.upstream)
                self.running[seconds] = own
                if self.users_left[own.key] or own.key in self.again:
                    self.weights[own.key] = weights

    def _take_alike(self, stage: Stage) -> list[Stage]:
        """Take waiting stages that one task may train together with this one, and that wait for nothing."""
        if stage.action != "train" or self.workers.runs_per_task(len(self.waiting) + 1, self.places) == 1:
            return []
        waiting = {other.key for other in self.waiting}
        alike = [
            other
            for other in self.waiting
            if other.alike(stage) and waiting.isdisjoint(other.upstream) and not self._upstream_failed(other)
        ]
        taken = alike[: self.workers.runs_per_task(len(alike) + 1, self.places) - 1]
        keys = {other.key for other in taken}
        self.waiting = deque(other for other in self.waiting if other.key not in keys)
        return taken

    def _look_around(self) -> None:
        """See, now and then, what the cluster has by now."""
        if time.monotonic() - self.looked < LOOK_EVERY_S:
            return
        self.looked = time.monotonic()
        self.places, possible = slots(self.compute), slots(self.compute.model_copy(update={"workers": None}))
        # Where the cluster has room for more stages than are asked for, Ray must not hold more than those.
        self.window = LOOKAHEAD * self.places if self.places == possible else self.places
        if (description := describe_cluster()) != self.described:
            self.described = description
            self.listener.cluster(description)

    def _release(self, keys: tuple[str, ...]) -> None:
        """Let Ray forget weights that no further stage will ask for."""
        for key in keys:
            self.users_left[key] -= 1
            if not self.users_left[key] and key not in self.again:
                self.weights.pop(key, None)

    def _deliver(self, messages: list[Message]) -> None:
        for key, epoch in messages:
            stage = self.plan.stages[key]
            if epoch is None:
                if key in self.begun:
                    self.listener.retried(stage, "its worker or node was lost")
                self.begun.add(key)
                self.listener.started(stage)
            else:
                self.listener.epoch(stage, epoch)

    def _finish(self, stage: Stage, reference: Any) -> None:
        try:
            outcome = ray.get(reference)
        except RayTaskError as error:
            outcome = Failed(error.cause, _ANSI_COLOUR.sub("", str(error)))
        except RayError as error:
            outcome = Failed(error, traceback.format_exc())
        if isinstance(outcome, Failed):
            self._fail(stage, outcome)
            return
        if not self.store.completed([stage.key]):
            raise StoreError(
                f"A worker kept stage {stage.key} in {self.store.location}, and it is not there on this machine; "
                "on several machines --storage must be a folder that they share, or a bucket (s3://, gs://)."
            )
        self.outcome.done.append(stage.key)
        self.listener.finished(stage, outcome)

    def _fail(self, stage: Stage, failed: Failed) -> None:
        if self._upstream_failed(stage):
            self._skip(stage)
            return
        if len(self.store.completed(stage.upstream)) < len(stage.upstream):
            self._wait_again(stage)
            return
        if isinstance(failed.cause, StoreError | FolderError):
            raise failed.cause from None
        if self._submit_again(stage, failed.cause):
            return
        lines = str(failed.cause).strip().splitlines()
        reason = f"{type(failed.cause).__name__}: {lines[0] if lines else 'no reason given'}"
        failure = Failure(reason, self.store.write_failure(stage.key, failed.traceback))
        self.outcome.failed[stage.key] = failure
        self.listener.failed(stage, failure)

    def _submit_again(self, stage: Stage, cause: Exception) -> bool:
        """Give a stage that ran out of GPU memory more of it, if there is more. Its upstream is in the store."""
        share = self.workers.larger_share(self.shares.get(stage.key, self.workers.share(stage)), cause)
        if share is None:
            return False
        self.shares[stage.key] = share
        self.begun.discard(stage.key)
        ((weights, seconds),) = self.workers.submit([stage], [stage.upstream], share)
        self.tasks.add(seconds)
        self.running[seconds], self.weights[stage.key] = stage, weights
        self.again.add(stage.key)
        self.listener.retried(stage, f"out of GPU memory, now with {share:g} of a GPU")
        return True

    def _wait_again(self, stage: Stage) -> None:
        """Submit a stage once more whose error was that of its upstream, which has been submitted once more."""
        self.again.add(stage.key)
        self.waiting = deque(sorted([stage, *self.waiting], key=lambda item: self.position[item.key]))

    def _upstream_failed(self, stage: Stage) -> bool:
        return any(key in self.outcome.failed or key in self.outcome.skipped for key in stage.upstream)

    def _skip(self, stage: Stage) -> None:
        self.outcome.skipped.append(stage.key)
        self.listener.skipped(stage)
