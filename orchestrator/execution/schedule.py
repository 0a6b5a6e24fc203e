"""Decides which stage comes next and what a failure means. Pure: no Ray, no clock; `scheduler` carries it out."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from ifmmin.orchestrator.execution.events import StageFailure
from ifmmin.orchestrator.planning.stage import Stage


@dataclass(frozen=True)
class Retry:
    """The stage is to be computed again, with this share of a GPU."""

    share: float
    why: str


@dataclass(frozen=True)
class Fail:
    """The stage has failed; what depends on it is skipped, everything else goes on."""


@dataclass(frozen=True)
class Stop:
    """The run ends, because no result could be kept."""


Decision = Retry | Fail | Stop


def decide(failure: StageFailure, *, share: float, losses: int, retries: int) -> Decision:
    """The decision after a failure.

    Args:
        share: of a GPU, with which the stage was computed; 0 on a CPU.
        losses: how often the worker or node of the stage was lost, this time included.
        retries: how often it may be.
    """
    if failure.kind == "storage":
        return Stop()
    if failure.kind == "gpu-memory" and 0 < share < 1:
        larger = min(1.0, 2 * share)
        return Retry(larger, f"out of GPU memory, now with {larger:g} of a GPU")
    if failure.kind == "lost" and losses <= retries:
        return Retry(share, "its worker or node was lost")
    return Fail()


class Schedule:
    """The stages of an experiment or a search and their states: waiting, ready, running, done, failed or skipped.

    Ready stages are taken in the order in which they were added, so that whole runs are finished early.

    Args:
        retries: how often a stage is computed again after its worker or node was lost.
        share: the share of a GPU that a stage takes at first.
    """

    def __init__(self, retries: int = 0, share: Callable[[Stage], float] = lambda _: 0.0) -> None:
        self._retries, self._first_share = retries, share
        self._stages: dict[str, Stage] = {}
        self._position: dict[str, int] = {}
        self._missing: dict[str, set[str]] = {}
        self._dependents: defaultdict[str, list[str]] = defaultdict(list)
        self._ready: dict[Hashable, list[tuple[int, str]]] = {}
        self._shares: dict[str, float] = {}
        self._losses: dict[str, int] = {}
        self.running: set[str] = set()
        self.done: set[str] = set()
        self.failed: dict[str, StageFailure] = {}
        self.skipped: set[str] = set()

    @property
    def finished(self) -> bool:
        """Whether nothing is running or ready; then nothing waits either."""
        return not self._ready and not self.running

    def add(self, stages: Iterable[Stage]) -> list[Stage]:
        """Add stages that are not in the store; those known already are left as they are.

        Args:
            stages: each after those it depends on. Upstream stages that were never added are in the store.

        Returns:
            Those that are skipped because something that they depend on has failed before.
        """
        skipped = []
        for stage in stages:
            if stage.key in self._stages:
                continue
            self._stages[stage.key] = stage
            self._position[stage.key] = len(self._position)
            upstream = set(stage.upstream.values())
            if upstream & (self.failed.keys() | self.skipped):
                self.skipped.add(stage.key)
                skipped.append(stage)
                continue
            self._missing[stage.key] = {key for key in upstream if key in self._stages and key not in self.done}
            for key in self._missing[stage.key]:
                self._dependents[key].append(stage.key)
            if not self._missing[stage.key]:
                self._make_ready(stage.key)
        return skipped

    def share(self, stage: Stage) -> float:
        """The share of a GPU that a stage is to be computed with."""
        return self._shares.get(stage.key, self._first_share(stage))

    def take(self, size: Callable[[Stage, int], int] = lambda _stage, _alike: 1) -> list[Stage]:
        """Take the first ready stage, with others that differ in fold and seed alone; empty if none is ready.

        Args:
            size: how many to take together, of the first of them and of how many are ready.
        """
        if not self._ready:
            return []
        kind = min(self._ready, key=lambda kind: self._ready[kind][0])
        ready = self._ready[kind]
        count = size(self._stages[ready[0][1]], len(ready))
        keys = [heapq.heappop(ready)[1] for _ in range(max(1, min(count, len(ready))))]
        if not ready:
            del self._ready[kind]
        self.running.update(keys)
        return [self._stages[key] for key in keys]

    def finish(self, key: str) -> None:
        """Note that the result of a running stage is in the store."""
        self.running.remove(key)
        self.done.add(key)
        for dependent in self._dependents.pop(key, []):
            self._missing[dependent].discard(key)
            if not self._missing[dependent] and dependent not in self.skipped:
                self._make_ready(dependent)

    def fail(self, key: str, failure: StageFailure) -> tuple[Decision, list[Stage]]:
        """Note that a running stage has failed, and decide what follows.

        Returns:
            The decision, and the stages that are skipped because of it.
        """
        stage = self._stages[key]
        self.running.remove(key)
        if failure.kind == "lost":
            self._losses[key] = self._losses.get(key, 0) + 1
        losses = self._losses.get(key, 0)
        decision = decide(failure, share=self.share(stage), losses=losses, retries=self._retries)
        if isinstance(decision, Retry):
            self._shares[key] = decision.share
            self._make_ready(key)
            return decision, []
        self.failed[key] = failure
        return decision, self._skip_dependents(key)

    def _make_ready(self, key: str) -> None:
        stage = self._stages[key]
        ready = self._ready.setdefault((stage.kind, self.share(stage)), [])
        heapq.heappush(ready, (self._position[key], key))

    def _skip_dependents(self, key: str) -> list[Stage]:
        """All that depends on a stage, directly or not, in the order of the schedule."""
        skipped: set[str] = set()
        reached = [key]
        while reached:
            dependents = [key for key in self._dependents.pop(reached.pop(), []) if key not in self.skipped | skipped]
            skipped.update(dependents)
            reached += dependents
        self.skipped |= skipped
        return [self._stages[key] for key in sorted(skipped, key=self._position.__getitem__)]
