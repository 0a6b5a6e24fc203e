"""The training of one run in one stage: its data, draws, network and optimizer, and its epochs so far.

The loops that train it are `model.training`, for one run, and `model.stacking.training`, for several as one.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus
from ifmmin.data.removal import draw_removed
from ifmmin.model.checkpoint import capture, restore
from ifmmin.model.checks import check_objective, check_probabilities
from ifmmin.model.definition import Shape, StageDefinition, Upstream, Weights
from ifmmin.model.history import Checkpoints, Epoch
from ifmmin.model.hyperparameters import TrainingHyperparameters
from ifmmin.model.initialisation import build_network
from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy

Precision = Literal["float32", "bfloat16"]


class DivergedError(RuntimeError):
    """A loss is not a finite number."""


@dataclass(frozen=True)
class Trained:
    """A trained stage: the weights of the epoch with the best validation UA, the first of equals, and all epochs."""

    weights: Weights
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class Start:
    """Which run is trained, and what it starts from.

    Attributes:
        upstream: the weights of the stages it comes after.
        on_epoch: called with every epoch when it ends.
        checkpoints: where an interrupted training is resumed from and checkpoints are kept.
        train_missing: by modality the rate at which it is removed from training utterances, see `data.removal`.
    """

    fold: int
    seed: int
    upstream: Upstream = field(default_factory=dict)
    on_epoch: Callable[[Epoch], None] = lambda _: None
    checkpoints: Checkpoints | None = None
    train_missing: Mapping[str, float] = field(default_factory=dict)


class TrainingRun:
    """One run of a stage.

    Raises:
        UserError: the network would silently give wrong results, see `model.checks`.
    """

    def __init__(
        self,
        definition: StageDefinition,
        hyperparameters: TrainingHyperparameters,
        corpus: Corpus,
        start: Start,
        condition: Condition | None,
        device: str,
    ) -> None:
        self.definition, self.hyperparameters = definition, hyperparameters
        removed = removed_in_training(corpus, start)
        self.training = Examples(corpus, start.fold, "train", device, definition.unit, removed)
        self.validation = Examples(corpus, start.fold, "validation", device, definition.unit)
        stage = f"{definition.name}-{condition}" if condition else definition.name
        self.order = stage_generator(start.seed, start.fold, stage, "order")
        self.draws = stage_generator(start.seed, start.fold, stage, "draws", device)

        initial = stage_generator(start.seed, start.fold, stage, "weights")
        self.network = build_network(definition, Shape.of(corpus, condition), hyperparameters, initial).to(device)
        self.objective = definition.objective(self.network, hyperparameters, self.training, start.upstream)
        self.objective.eval()  # what an objective compares with does not train; the loops switch the network alone
        check_objective(self.objective)
        self.optimizer = definition.optimizer(self.network.parameters(), hyperparameters)
        self._counted = _counted(self.validation, self.network.selection)
        self.history: list[Epoch] = []
        self._best: dict[str, Tensor] = {}
        self._start = start
        self._resume(torch.device(device).type)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next epoch."""
        return self.definition.schedule(self.hyperparameters, len(self.history))

    def shuffled(self) -> tuple[Tensor, ...]:
        """The rows of the next epoch's batches."""
        return self.training.shuffled(self.hyperparameters.batch_size, self.order)

    def end_epoch(self, sums: Mapping[str, float], probabilities: Tensor, seconds: float) -> None:
        """Add an epoch to the history, and keep its weights if no earlier ones were better.

        Args:
            sums: of each loss over the training utterances.
            probabilities: of the validation set, (conditions, utterances, classes).

        Raises:
            DivergedError: the loss is not finite.
        """
        epoch, losses = len(self.history) + 1, {name: value / len(self.training) for name, value in sums.items()}
        if not np.isfinite(losses["total"]):
            raise DivergedError(
                f"The loss of epoch {epoch} is {losses['total']}: {losses}; a smaller learning_rate may help."
            )
        check_probabilities(self.network, probabilities, self.validation)
        predictions = probabilities.argmax(-1).cpu()[self._counted].numpy()
        labels = self.validation.labels.expand_as(self._counted)[self._counted].numpy()
        wa, ua = weighted_accuracy(labels, predictions), unweighted_accuracy(labels, predictions)
        if ua > max((earlier.validation_ua for earlier in self.history), default=-1.0):
            self._best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.history.append(Epoch(epoch, self.learning_rate, losses, wa, ua, seconds))
        self._start.on_epoch(self.history[-1])
        checkpoints = self._start.checkpoints
        if checkpoints and epoch < self.hyperparameters.epochs and checkpoints.due():
            checkpoints.save(capture(self.network, self.optimizer, (self.order, self.draws), self._best, self.history))

    def trained(self) -> Trained:
        """The result after the last epoch."""
        return Trained({name: value.cpu().numpy() for name, value in self._best.items()}, tuple(self.history))

    def _resume(self, device: str) -> None:
        earlier = self._start.checkpoints.load() if self._start.checkpoints else None
        if earlier and earlier.device == device:
            self._best = restore(earlier, self.network, self.optimizer, (self.order, self.draws))
            self.history = list(earlier.history)


def removed_in_training(corpus: Corpus, start: Start) -> Tensor | None:
    """Which modalities a run's training utterances are to lack, bool (utterances, modalities); None without a rate.

    The same in every stage of a run, and in the runs of all systems on that fold with that seed.
    """
    if not start.train_missing:
        return None
    present = torch.from_numpy(corpus.present[corpus.folds[start.fold].train])
    generator = stage_generator(start.seed, start.fold, "corpus", "train_missing")
    return draw_removed(present, corpus.letters, start.train_missing, generator)


def _counted(validation: Examples, selection: Sequence[Condition]) -> Tensor:
    """Which predictions of the validation set count, bool (conditions, utterances), on the CPU.

    Those of utterances that have all modalities of a condition. If no utterance has those of any, as under full
    modality where each lacks something, all count, and what an utterance lacks is missing.
    """
    evaluated = validation.evaluated(selection)
    return evaluated if evaluated.any() else torch.ones_like(evaluated)


def stage_generator(
    seed: int, fold: int, stage: str, purpose: str, device: str | torch.device = "cpu"
) -> torch.Generator:
    """The generator of one purpose within one stage: it depends on these arguments only."""
    digest = hashlib.sha256(f"{seed}/{fold}/{stage}/{purpose}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def autocast(device: str | torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context in which a network computes in a precision."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16")
