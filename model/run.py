"""The training of one run in one stage: its data, draws, network and optimizer, and what has come of it so far."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus
from ifmmin.model.checkpoint import Checkpoints, Epoch, capture, restore
from ifmmin.model.definition import Shape, StageDefinition, Upstream, Weights
from ifmmin.model.hyperparameters import TrainingHyperparameters
from ifmmin.model.layers import initialise
from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy

Precision = Literal["float32", "bfloat16"]


class DivergedError(RuntimeError):
    """A loss is no longer a finite number."""


@dataclass(frozen=True)
class Trained:
    """A trained stage: the weights of the epoch with the best validation UA, the first of equals, and all epochs."""

    weights: Weights
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class Start:
    """Which run it is, where it starts, and who is told of it.

    Attributes:
        upstream: the weights of the stages this one starts from.
        on_epoch: told of every epoch when it ends.
        checkpoints: where to go on from, if training was broken off, and where to keep how far it is.
    """

    fold: int
    seed: int
    upstream: Upstream = field(default_factory=dict)
    on_epoch: Callable[[Epoch], None] = lambda _: None
    checkpoints: Checkpoints | None = None


class TrainingRun:
    """One run of a stage."""

    def __init__(
        self,
        definition: StageDefinition,
        hyperparameters: TrainingHyperparameters,
        corpus: Corpus,
        start: Start,
        condition: Condition | None,
        device: str,
    ) -> None:
        self.hyperparameters = hyperparameters
        self._schedule = definition.schedule
        self.training = Examples(corpus, start.fold, "train", device)
        self.validation = Examples(corpus, start.fold, "validation", device)
        stage = f"{definition.name}-{condition}" if condition else definition.name
        self.order = stage_generator(start.seed, start.fold, stage, "order")
        self.draws = stage_generator(start.seed, start.fold, stage, "draws", device)

        self.network = definition.network(Shape.of(corpus, condition), hyperparameters)
        initialise(self.network, stage_generator(start.seed, start.fold, stage, "weights"))
        self.network.to(device)
        self.objective = definition.objective(self.network, hyperparameters, self.training, start.upstream)
        self.optimizer = definition.optimizer(self.network.parameters(), hyperparameters)
        self.history: list[Epoch] = []
        self.error: DivergedError | None = None
        self._best: dict[str, Tensor] = {}
        self._start = start
        self._resume(torch.device(device).type)

    def shuffled(self) -> tuple[Tensor, ...]:
        """The rows of the next epoch's batches."""
        return torch.split(torch.randperm(len(self.training), generator=self.order), self.hyperparameters.batch_size)

    def begin_epoch(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate

    def end_epoch(self, losses: dict[str, float], probabilities: Tensor, seconds: float) -> None:
        """Note what an epoch came to, and keep its weights if no earlier ones were better.

        Args:
            losses: means over the training utterances.
            probabilities: of the validation set, (conditions, utterances, classes).
        """
        epoch = len(self.history) + 1
        if not np.isfinite(losses["total"]):
            self.error = DivergedError(
                f"The loss of epoch {epoch} is {losses['total']}: {losses}; a smaller learning_rate may help."
            )
            return
        predictions = probabilities.argmax(-1).flatten().cpu().numpy()
        labels = np.tile(self.validation.labels.numpy(), len(probabilities))
        wa, ua = weighted_accuracy(labels, predictions), unweighted_accuracy(labels, predictions)
        if ua > max((earlier.validation_ua for earlier in self.history), default=-1.0):
            self._best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.history.append(Epoch(epoch, self._learning_rate, losses, wa, ua, seconds))
        self._start.on_epoch(self.history[-1])
        checkpoints = self._start.checkpoints
        if checkpoints and epoch < self.hyperparameters.epochs and checkpoints.due():
            checkpoints.save(capture(self.network, self.optimizer, (self.order, self.draws), self._best, self.history))

    def result(self) -> Trained | DivergedError:
        return self.error or Trained(
            {name: value.cpu().numpy() for name, value in self._best.items()}, tuple(self.history)
        )

    @property
    def _learning_rate(self) -> float:
        """Of the next epoch."""
        return self._schedule(self.hyperparameters, len(self.history))

    def _resume(self, device: str) -> None:
        earlier = self._start.checkpoints.load() if self._start.checkpoints else None
        if earlier and earlier.device == device:
            self._best = restore(earlier, self.network, self.optimizer, (self.order, self.draws))
            self.history = list(earlier.history)


class Engine(Protocol):
    """What computes the steps of runs."""

    def step(self, runs: Sequence[int], rows: Sequence[Tensor]) -> dict[str, Tensor]:
        """Train these runs on one batch each, of the same size; their losses by name, each (runs,).

        Args:
            runs: their numbers.
            rows: of each, int64 (batch,), on the CPU.
        """
        ...

    def validate(self, runs: Sequence[int]) -> list[Tensor]:
        """Of each run the class probabilities of its validation set, (selection conditions, utterances, classes)."""
        ...


def stage_generator(
    seed: int, fold: int, stage: str, purpose: str, device: str | torch.device = "cpu"
) -> torch.Generator:
    """The generator of one purpose within one stage: it depends on these words alone."""
    digest = hashlib.sha256(f"{seed}/{fold}/{stage}/{purpose}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def autocast(device: str | torch.device, precision: Precision) -> AbstractContextManager[Any]:
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16")
