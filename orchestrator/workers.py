"""What Ray's workers do: compute a stage, tell the driver how it goes, keep the result in the store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError

from data.corpus import Corpus
from model.checkpoint import Checkpoint
from model.recipe import Weights
from orchestrator.cluster import device_of, on_this_node
from orchestrator.configuration import Compute
from orchestrator.mailbox import Mailbox, report
from orchestrator.plan import Stage
from orchestrator.stages import execute
from orchestrator.store import Store


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


@ray.remote
def run_stage(stage: Stage, references: Sequence[Any], device: str, *upstream: Weights | str) -> tuple[Weights, float]:
    """Compute a stage and keep its result.

    Args:
        references: one, to the context; in a list, where Ray leaves it as it is.
        upstream: each upstream stage as its weights, or as its key in the store.

    Ray calls this again when a worker or a node was lost, or with it the weights that it returned; what is in the store
    by then is not computed again.
    """
    context = context_behind(references[0])
    store = context.store
    if store.completed([stage.key]):
        weights = store.read_weights(stage.key) if stage.action == "train" else {}
        return weights, store.read_record(stage.key)["seconds"]
    report(context.mailbox, stage.key, None)
    result = execute(
        stage,
        context.corpus,
        [store.read_weights(item) if isinstance(item, str) else item for item in upstream],
        device=device,
        on_epoch=lambda epoch: report(context.mailbox, stage.key, epoch),
        checkpoints=StoredCheckpoints(store, stage.key, context.compute.checkpoint_s),
    )
    store.write_stage(stage, result)
    return result.weights, result.seconds


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

    def submit(self, stage: Stage, *upstream: Any, share: float | None = None) -> tuple[Any, Any]:
        """References to the weights and seconds of a stage.

        Args:
            upstream: see `run_stage`.
            share: of a GPU, instead of the configuration's.
        """
        share = self.share(stage) if share is None else share
        options = {
            "num_returns": 2,
            "num_cpus": 1,
            "num_gpus": share,
            "max_retries": self.compute.retries,
            # Not in the placement group of a trial, which holds nothing that a stage could take.
            "scheduling_strategy": "DEFAULT",
        }
        results: Any = run_stage.options(**options).remote(stage, [self.context], self.device, *upstream)
        weights, seconds = results
        return weights, seconds

    def share(self, stage: Stage) -> float:
        """The fraction of a GPU that a stage takes."""
        return self.compute.gpu_shares.of(stage.name) if self.device == "cuda" else 0.0

    def larger_share(self, share: float, error: Exception) -> float | None:
        """The share to try again with, if a stage failed because it had too little GPU memory and there is more."""
        cause = error.cause if isinstance(error, RayTaskError) else error
        return min(1.0, 2 * share) if isinstance(cause, torch.OutOfMemoryError) and 0 < share < 1 else None
