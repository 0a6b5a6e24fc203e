"""Runs the stages of a plan on Ray. It knows stages, keys and resources, and nothing of models or metrics."""

import logging
import os
import re
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from data.corpus import Corpus
from model.recipe import Weights
from model.training import Epoch
from orchestrator.configuration import Compute
from orchestrator.plan import Plan, Stage, stages_to_run
from orchestrator.stages import execute
from orchestrator.store import Store, StoreError

LOST_WORKER_RETRIES = 3
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

    def started(self, stage: Stage) -> None: ...
    def epoch(self, stage: Stage, epoch: Epoch) -> None: ...
    def finished(self, stage: Stage, seconds: float) -> None: ...
    def failed(self, stage: Stage, failure: Failure) -> None: ...
    def skipped(self, stage: Stage) -> None: ...
    def tick(self) -> None:
        """Called a few times a second."""


@ray.remote(num_cpus=0)
class Mailbox:
    """Holds what workers report until the driver collects it."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, Epoch | None]] = []

    def put(self, key: str, epoch: Epoch | None) -> None:
        self._messages.append((key, epoch))

    def collect(self) -> list[tuple[str, Epoch | None]]:
        messages, self._messages = self._messages, []
        return messages


@ray.remote(max_retries=LOST_WORKER_RETRIES)
def run_stage(
    stage: Stage, corpus: Corpus, store: Store, device: str, mailbox: Any, *upstream: Weights | str
) -> tuple[Weights, float]:
    """Compute a stage and keep its result. An upstream stage comes as its weights, or as its key in the store."""
    mailbox.put.remote(stage.key, None)
    weights = [store.read_weights(item) if isinstance(item, str) else item for item in upstream]
    result = execute(stage, corpus, weights, device=device, on_epoch=lambda epoch: mailbox.put.remote(stage.key, epoch))
    store.write_stage(stage, result)
    return result.weights, result.seconds


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
        self.device = device_of(compute)
        self.corpus, self.store_reference = ray.put(corpus), ray.put(store)
        self.mailbox = Mailbox.remote()  # type: ignore[attr-defined]
        self.running: dict[Any, Stage] = {}
        self.weights: dict[str, Any] = {}
        self.outcome = Outcome()

    def run(self) -> Outcome:
        while True:
            self._submit()
            if not self.running:
                return self.outcome
            ready, _ = ray.wait(list(self.running), timeout=0.25)
            if ready:
                ready, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
            self._deliver(ray.get(self.mailbox.collect.remote()))
            for reference in sorted(ready, key=lambda item: self.position[self.running[item].key]):
                self._finish(self.running.pop(reference), reference)
            self.listener.tick()

    def _submit(self) -> None:
        window = LOOKAHEAD * slots(self.compute)
        while self.waiting and len(self.running) < window:
            stage = self.waiting.popleft()
            # A stage that is not among those to run is in the store, where the worker reads it.
            upstream = [self.weights.get(key, key) for key in stage.upstream]
            self._release(stage.upstream)
            if self._upstream_failed(stage):
                self._skip(stage)
                continue
            resources = stage_resources(stage, self.compute, self.device)
            weights, seconds = run_stage.options(num_returns=2, **resources).remote(
                stage, self.corpus, self.store_reference, self.device, self.mailbox, *upstream
            )
            self.running[seconds] = stage
            if self.users_left[stage.key]:
                self.weights[stage.key] = weights

    def _release(self, keys: tuple[str, ...]) -> None:
        """Let Ray forget weights that no further stage will ask for."""
        for key in keys:
            self.users_left[key] -= 1
            if not self.users_left[key]:
                self.weights.pop(key, None)

    def _deliver(self, messages: list[tuple[str, Epoch | None]]) -> None:
        for key, epoch in messages:
            stage = self.plan.stages[key]
            if epoch is None:
                self.listener.started(stage)
            else:
                self.listener.epoch(stage, epoch)

    def _finish(self, stage: Stage, reference: Any) -> None:
        try:
            seconds = ray.get(reference)
        except RayError as error:
            if self._upstream_failed(stage):
                self._skip(stage)
                return
            cause = error.cause if isinstance(error, RayTaskError) else error
            if isinstance(cause, StoreError):
                raise cause from None
            text = _ANSI_COLOUR.sub("", str(error)) if isinstance(error, RayTaskError) else traceback.format_exc()
            lines = str(cause).strip().splitlines()
            reason = f"{type(cause).__name__}: {lines[0] if lines else 'no reason given'}"
            failure = Failure(reason, self.store.write_failure(stage.key, text))
            self.outcome.failed[stage.key] = failure
            self.listener.failed(stage, failure)
        else:
            self.outcome.done.append(stage.key)
            self.listener.finished(stage, seconds)

    def _upstream_failed(self, stage: Stage) -> bool:
        return any(key in self.outcome.failed or key in self.outcome.skipped for key in stage.upstream)

    def _skip(self, stage: Stage) -> None:
        self.outcome.skipped.append(stage.key)
        self.listener.skipped(stage)


def stage_resources(stage: Stage, compute: Compute, device: str) -> dict[str, float]:
    """What Ray sets aside for a stage."""
    return {"num_cpus": 1, "num_gpus": compute.gpu_shares.of(stage.name) if device == "cuda" else 0}


def slots(compute: Compute) -> int:
    """How many stages Ray can run at once."""
    resources = _resources()
    cpus = int(resources.get("CPU", 1))
    if device_of(compute) == "cuda":
        return max(1, min(cpus, int(resources.get("GPU", 0) / compute.gpu_shares.train)))
    return max(1, cpus)


def device_of(compute: Compute) -> str:
    """`cuda` where Ray has GPUs, unless the configuration says otherwise; else `cpu`."""
    if compute.device == "auto":
        return "cuda" if _resources().get("GPU", 0) else "cpu"
    return compute.device


def _resources() -> Mapping[str, float]:
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


@contextmanager
def ray_session(compute: Compute) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine for as long as the context lasts."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Failures are told by the driver, once; Ray would print them again for every stage that depended on one.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    address = os.environ.get("RAY_ADDRESS", "local")
    local: dict[str, Any] = {"num_cpus": compute.workers or os.cpu_count(), "include_dashboard": False}
    ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **(local if address == "local" else {}))
    try:
        yield
    finally:
        ray.shutdown()
