"""What Ray's workers do: compute a stage, tell the driver how it goes, keep the result in the store."""

import math
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError

from ifmmin.data.corpus import Corpus
from ifmmin.model.checkpoint import Checkpoint
from ifmmin.model.definition import Weights
from ifmmin.orchestrator.execution.cluster import device_of, on_this_node
from ifmmin.orchestrator.execution.mailbox import Mailbox, report
from ifmmin.orchestrator.execution.stages import StageResult, Task, execute, execute_together
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.planning.plan import Stage
from ifmmin.orchestrator.store import Store

RUN_BYTES = 3 * 2**30
"""A guess of what a run of IF-MMIN takes of a GPU at IEMOCAP's sizes; if it is too small, `execute_together` copes."""

MOST_TOGETHER = 30
"""Runs in one task: the paper's folds and seeds of one system."""


class StoredCheckpoints:
    """The checkpoints of one stage, in the store."""

    def __init__(self, store: Store, key: str, every_s: float) -> None:
        self._store, self._key, self._every_s = store, key, every_s
        self._last = time.monotonic()

    def load(self) -> Checkpoint | None:
        return self._store.read_checkpoint(self._key)

    def due(self) -> bool:
        return time.monotonic() - self._last >= self._every_s

    def save(self, checkpoint: Checkpoint) -> None:
        self._store.write_checkpoint(self._key, checkpoint)
        self._last = time.monotonic()


@dataclass(frozen=True)
class Context:
    """What all stages need."""

    corpus: Corpus
    store: Store
    mailbox: Any
    compute: Compute


@lru_cache(maxsize=1)
def context_behind(reference: Any) -> Context:
    """The context, which a process fetches once; the corpus stays in the node's shared memory."""
    context: Context = ray.get(reference)
    return context


@dataclass(frozen=True)
class Failed:
    """What a stage comes to that fails while others of the same task do not."""

    cause: Exception
    traceback: str


@ray.remote
def run_stages(stages: Sequence[Stage], references: Sequence[Any], device: str, *upstream: Any) -> tuple[Any, ...]:
    """Compute a stage, or as one several that differ in fold and seed alone, and keep what comes of each.

    Args:
        references: one, to the context; in a list, where Ray leaves it as it is.
        upstream: each upstream stage of each stage as its weights, as its key in the store, or None if it failed.

    Returns:
        The weights of each stage, then how many seconds each took, or why it failed.

    Ray calls this again when a worker or a node was lost, or with it the weights that it returned; what is in the store
    by then is not computed again.
    """
    context = context_behind(references[0])
    store, given = context.store, iter(upstream)
    complete = store.completed([stage.key for stage in stages])
    weights: dict[str, Weights | None] = {}
    outcomes: dict[str, float | Failed] = {}
    tasks = []
    for stage in stages:
        needed = [next(given) for _ in stage.upstream]
        if stage.key in complete:
            weights[stage.key] = store.read_weights(stage.key) if stage.action == "train" else {}
            outcomes[stage.key] = store.read_record(stage.key)["seconds"]
        elif None in needed:
            outcomes[stage.key] = Failed(RuntimeError("What it starts from has failed."), "")
        else:
            report(context.mailbox, stage.key, None)
            tasks.append(
                Task(
                    stage,
                    [store.read_weights(item) if isinstance(item, str) else item for item in needed],
                    partial(report, context.mailbox, stage.key),
                    StoredCheckpoints(store, stage.key, context.compute.checkpoint_s),
                )
            )
    for task, result in zip(tasks, _compute(tasks, context, device), strict=True):
        if isinstance(result, Exception):
            if len(stages) == 1:
                raise result
            outcomes[task.stage.key] = Failed(result, "".join(traceback.format_exception(result)))
        else:
            store.write_stage(task.stage, result)
            weights[task.stage.key], outcomes[task.stage.key] = result.weights, result.seconds
    return *(weights.get(stage.key) for stage in stages), *(outcomes[stage.key] for stage in stages)


def _compute(tasks: Sequence[Task], context: Context, device: str) -> Iterator[StageResult | Exception]:
    if tasks and tasks[0].stage.action == "evaluate":
        for task in tasks:
            yield execute(task.stage, context.corpus, task.upstream, device=device)
        return
    fitting = context.compute.runs_per_task or _fitting(device)
    for first in range(0, len(tasks), fitting):
        yield from execute_together(tasks[first : first + fitting], context.corpus, device=device)


def _fitting(device: str) -> int:
    """How many runs a GPU's free memory is good for."""
    return max(1, torch.cuda.mem_get_info()[0] // RUN_BYTES) if device == "cuda" else 1


@dataclass(frozen=True)
class Workers:
    """Where stages are handed in, with what all of them need; it travels to actors."""

    context: Any
    mailbox: Any
    compute: Compute
    device: str

    @classmethod
    def start(cls, corpus: Corpus, store: Store, compute: Compute) -> "Workers":
        """Lay the corpus into Ray's object store, once for all workers of a node, and open a mailbox."""
        mailbox = Mailbox.options(  # type: ignore[attr-defined]
            scheduling_strategy=on_this_node(), enable_task_events=False
        ).remote()
        return cls(ray.put(Context(corpus, store, mailbox, compute)), mailbox, compute, device_of(compute))

    def submit(
        self, stages: Sequence[Stage], upstream: Sequence[Sequence[Any]], share: float | None = None
    ) -> list[tuple[Any, Any]]:
        """Of each stage references to its weights and to how many seconds it took.

        Args:
            stages: one, or several that differ in fold and seed alone and are trained as one.
            upstream: of each stage, see `run_stages`.
            share: of a GPU, instead of the configuration's.
        """
        share = self.share(stages[0]) if share is None else share
        options = {
            "num_returns": 2 * len(stages),
            "num_cpus": 1,
            "num_gpus": share,
            "max_retries": self.compute.retries,
            # Not in the placement group of a trial, which holds nothing that a stage could take.
            "scheduling_strategy": "DEFAULT",
        }
        given = [item for items in upstream for item in items]
        references: Any = run_stages.options(**options).remote(list(stages), [self.context], self.device, *given)
        return list(zip(references[: len(stages)], references[len(stages) :], strict=True))

    def runs_per_task(self, alike: int, places: int) -> int:
        """How many of the stages that differ in fold and seed alone one task should train.

        Args:
            alike: how many such stages there are.
            places: how many tasks can run at once.
        """
        if self.compute.runs_per_task:
            return self.compute.runs_per_task
        return min(MOST_TOGETHER, math.ceil(alike / places)) if self.device == "cuda" else 1

    def share(self, stage: Stage) -> float:
        """The fraction of a GPU that a stage takes."""
        kind = stage.name if stage.action == "train" else "evaluate"
        return self.compute.gpu_shares.of(kind) if self.device == "cuda" else 0.0

    def larger_share(self, share: float, error: Exception) -> float | None:
        """The share to try again with, if a stage failed because it had too little GPU memory and there is more."""
        cause = error.cause if isinstance(error, RayTaskError) else error
        return min(1.0, 2 * share) if isinstance(cause, torch.OutOfMemoryError) and 0 < share < 1 else None
