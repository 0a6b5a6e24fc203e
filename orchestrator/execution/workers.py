"""What Ray's workers do: compute stages, report their progress, and write results to the store.

The driver imports this module, and no PyTorch with it: that is loaded in the workers alone.
"""

import math
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import ray

from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError
from ifmmin.data.folder import FolderError
from ifmmin.model.history import Checkpoint
from ifmmin.model.program import Program
from ifmmin.orchestrator.execution.events import FailureKind, StageFailure
from ifmmin.orchestrator.execution.mailbox import Mailbox, report
from ifmmin.orchestrator.execution.resources import device_of, on_this_node
from ifmmin.orchestrator.planning.catalogue import outside_systems
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.planning.stage import Stage
from ifmmin.orchestrator.store import Store, StoreError

if TYPE_CHECKING:
    from ifmmin.orchestrator.execution.stages import Task
    from ifmmin.orchestrator.planning.stage import StageResult

RUN_BYTES = 3 * 2**30
"""A guess of the GPU memory that a run of IF-MMIN needs at IEMOCAP's sizes; `execute_together` copes if it is wrong."""

MOST_TOGETHER = 30
"""Runs in one task: the paper's folds and seeds of one system."""


class StoredCheckpoints:
    """The checkpoints of one stage, in the store."""

    def __init__(self, store: Store, key: str, every_s: float) -> None:
        self._store, self._key, self._every_s = store, key, every_s
        self._last = time.monotonic()

    def load(self) -> Checkpoint | None:
        """The stage's checkpoint in the store, or None."""
        return self._store.read_checkpoint(self._key)

    def due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        return time.monotonic() - self._last >= self._every_s

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint to the store."""
        self._store.write_checkpoint(self._key, checkpoint)
        self._last = time.monotonic()


@dataclass(frozen=True)
class Context:
    """The context that all stages need; `programs` are those of systems from outside the package."""

    corpus: Corpus
    store: Store
    mailbox: Any
    compute: Compute
    programs: tuple[Program, ...] = ()


@lru_cache(maxsize=1)
def context_behind(reference: Any) -> Context:
    """The context, which a process fetches once; the corpus stays in the node's shared memory."""
    context: Context = ray.get(reference)
    return context


SecondsOrFailure = float | StageFailure
"""How long a stage took, or why it failed."""


@ray.remote
def run_stages(stages: Sequence[Stage], references: Sequence[Any], device: str) -> list[SecondsOrFailure]:
    """Compute stages that differ in fold and seed alone, and write the result of each to the store.

    What is in the store by now, from an attempt that was lost on its way back, is not computed again.

    Args:
        references: one, to the context; in a list, where Ray leaves it as it is.
    """
    context = context_behind(references[0])
    store = context.store
    complete = store.completed([stage.key for stage in stages])
    to_run = [stage for stage in stages if stage.key not in complete]
    outcomes: dict[str, SecondsOrFailure] = {key: store.read_record(key)["seconds"] for key in complete}
    try:
        for stage, result in zip(to_run, _compute(to_run, context, device), strict=True):
            if isinstance(result, Exception):
                outcomes[stage.key] = failure_of(result)
            else:
                store.write_stage(stage, result)
                outcomes[stage.key] = result.seconds
    except Exception as error:
        failure = failure_of(error)
        outcomes = {stage.key: outcomes.get(stage.key, failure) for stage in stages}
    return [outcomes[stage.key] for stage in stages]


def failure_of(error: Exception) -> StageFailure:
    """The failure behind an exception that a stage raised."""
    from torch import OutOfMemoryError

    kind: FailureKind = "error"
    if isinstance(error, StoreError | FolderError):
        kind = "storage"
    elif isinstance(error, OutOfMemoryError):
        kind = "gpu-memory"
    lines = str(error).strip().splitlines()
    message = lines[0] if lines else "no reason given"
    reason = message if isinstance(error, UserError) else f"{type(error).__name__}: {message}"
    return StageFailure(reason, "".join(traceback.format_exception(error)), kind)


def _compute(stages: Sequence[Stage], context: Context, device: str) -> "Iterator[StageResult | Exception]":
    """The result of each stage, or why it failed; as many at once as train as one."""
    from ifmmin.orchestrator.execution.stages import execute, execute_together, load_programs

    load_programs(context.programs)
    trains = bool(stages) and stages[0].action == "train"
    at_once = (context.compute.runs_per_task or _fitting(device)) if trains else 1
    for first in range(0, len(stages), at_once):
        chunk = stages[first : first + at_once]
        for stage in chunk:
            report(context.mailbox, stage.key, None)
        try:
            if trains:
                yield from execute_together([_task(stage, context) for stage in chunk], context.corpus, device=device)
            else:
                yield execute(chunk[0], context.corpus, context.store.read_upstream(chunk[0]), device=device)
        except Exception as error:
            yield from [error] * len(chunk)


def _task(stage: Stage, context: Context) -> "Task":
    from ifmmin.orchestrator.execution.stages import Task

    return Task(
        stage,
        context.store.read_upstream(stage),
        partial(report, context.mailbox, stage.key),
        StoredCheckpoints(context.store, stage.key, context.compute.checkpoint_s),
    )


def _fitting(device: str) -> int:
    """How many runs fit into a GPU's free memory."""
    if device != "cuda":
        return 1
    from torch.cuda import mem_get_info

    return max(1, mem_get_info()[0] // RUN_BYTES)


@dataclass(frozen=True)
class Workers:
    """Submits stages to Ray's workers, with the context that all of them need."""

    context: Any
    mailbox: Any
    compute: Compute
    device: str

    @classmethod
    def start(cls, corpus: Corpus, store: Store, compute: Compute) -> "Workers":
        """Put the corpus into Ray's object store, once for all workers of a node, and open a mailbox."""
        mailbox = Mailbox.options(  # type: ignore[attr-defined]
            scheduling_strategy=on_this_node(), enable_task_events=False
        ).remote()
        programs = tuple(outside.program for outside in outside_systems().values())
        context = Context(corpus, store, mailbox, compute, programs)
        return cls(ray.put(context), mailbox, compute, device_of(compute))

    def submit(self, stages: Sequence[Stage], share: float) -> Any:
        """A reference to the outcomes of one stage, or of several that differ in fold and seed alone.

        Args:
            share: of a GPU.
        """
        options = {
            "num_cpus": 1,
            "num_gpus": share,
            "max_retries": 0,  # the schedule decides what is computed again
            # Not in the placement group of a trial, which holds nothing that a stage could take.
            "scheduling_strategy": "DEFAULT",
        }
        return run_stages.options(**options).remote(list(stages), [self.context], self.device)

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
        """The fraction of a GPU that a stage takes at first."""
        return self.compute.gpu_share(stage.name, stage.action) if self.device == "cuda" else 0.0
