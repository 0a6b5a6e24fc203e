"""What Ray's workers do: compute a stage, tell the driver how it goes, keep the result in the store."""

import time
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError

from data.corpus import Corpus
from model.checkpoint import Checkpoint, Epoch
from model.recipe import Weights
from orchestrator.cluster import device_of, on_this_node
from orchestrator.configuration import Compute
from orchestrator.plan import Stage
from orchestrator.stages import execute
from orchestrator.store import Store

Message = tuple[str, Epoch | None]
"""Key of a stage, and the epoch that has ended, or None when the stage begins."""


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Mailbox:
    """Holds what workers report until the driver collects it. What it held is lost if its process is killed."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    def put(self, key: str, epoch: Epoch | None) -> None:
        self._messages.append((key, epoch))

    def collect(self) -> list[Message]:
        messages, self._messages = self._messages, []
        return messages


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


@ray.remote
def run_stage(
    stage: Stage, corpus: Corpus, store: Store, compute: Compute, device: str, mailbox: Any, *upstream: Weights | str
) -> tuple[Weights, float]:
    """Compute a stage and keep its result. An upstream stage comes as its weights, or as its key in the store.

    Ray calls this again when a worker or a node was lost, or with it the weights that it returned; what is in the store
    by then is not computed again.
    """
    if store.completed([stage.key]):
        weights = store.read_weights(stage.key) if stage.action == "train" else {}
        return weights, store.read_record(stage.key)["seconds"]
    mailbox.put.remote(stage.key, None)
    result = execute(
        stage,
        corpus,
        [store.read_weights(item) if isinstance(item, str) else item for item in upstream],
        device=device,
        on_epoch=lambda epoch: mailbox.put.remote(stage.key, epoch),
        checkpoints=StoredCheckpoints(store, stage.key, compute.checkpoint_s),
    )
    store.write_stage(stage, result)
    return result.weights, result.seconds


@dataclass(frozen=True)
class Workers:
    """Where stages are handed in, with what all of them need; it travels to actors."""

    corpus: Any
    store: Any
    mailbox: Any
    compute: Compute
    device: str

    @classmethod
    def start(cls, corpus: Corpus, store: Store, compute: Compute) -> "Workers":
        """Lay the corpus into Ray's object store, once for all workers of a node, and open a mailbox."""
        mailbox = Mailbox.options(scheduling_strategy=on_this_node()).remote()  # type: ignore[attr-defined]
        return cls(ray.put(corpus), ray.put(store), mailbox, compute, device_of(compute))

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
        weights, seconds = run_stage.options(**options).remote(
            stage, self.corpus, self.store, self.compute, self.device, self.mailbox, *upstream
        )
        return weights, seconds

    def share(self, stage: Stage) -> float:
        """The fraction of a GPU that a stage takes."""
        return self.compute.gpu_shares.of(stage.name) if self.device == "cuda" else 0.0

    def larger_share(self, share: float, error: Exception) -> float | None:
        """The share to try again with, if a stage failed because it had too little GPU memory and there is more."""
        cause = error.cause if isinstance(error, RayTaskError) else error
        return min(1.0, 2 * share) if isinstance(cause, torch.OutOfMemoryError) and 0 < share < 1 else None
