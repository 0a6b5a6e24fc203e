"""Predictions of utterances outside of the corpus, with any modalities missing, by trained runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import ALL_CONDITIONS, MODALITIES, Modality
from ifmmin.data.corpus import Corpus, Fold, Sequences
from ifmmin.data.errors import UserError
from ifmmin.data.layouts.table import Features
from ifmmin.model.definition import Network, Shape, Weights
from ifmmin.model.evaluation import predict
from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.model.run import Precision, autocast
from ifmmin.model.systems import DEFINITIONS
from ifmmin.model.training import trained_network


@dataclass(frozen=True)
class TrainedRun:
    """All that the predictions of a trained run depend on, so that it needs neither corpus nor store.

    Attributes:
        recipe: of `model.systems.DEFINITIONS`, with its hyperparameters.
        dimensions: for each modality its number of features.
        lengths: for each modality the median length of the training set's utterances, in time steps.
        statistics: mean and deviation over the training set of the modalities that are standardised.
        weights: of the one network, or of each of the recipe's conditions in that order.
    """

    fold: int
    seed: int
    recipe: str
    parameters: Mapping[str, HyperparameterValue]
    precision: Precision
    classes: Sequence[str]
    dimensions: Mapping[Modality, int]
    lengths: Mapping[Modality, int]
    statistics: Mapping[Modality, tuple[NDArray[np.float32], NDArray[np.float32]]]
    weights: Sequence[Weights]

    @cached_property
    def network(self) -> Network:
        """The network that the run's evaluation evaluates."""
        definition = DEFINITIONS[self.recipe]
        shape = Shape(self.dimensions, len(self.classes))
        return trained_network(definition, definition.make_hyperparameters(self.parameters), shape, self.weights)

    def predict(self, features: Features) -> NDArray[np.float32]:
        """Class probabilities in every condition, (7, utterances, classes).

        What an utterance lacks counts as zeros of the median length: a missing modality's length is all that is read.
        """
        count = len(features["a"])
        inputs = Corpus(
            name="inputs",
            classes=(),
            utterances=pa.table({"utterance": [str(row) for row in range(count)], "label": [0] * count}),
            sequences={m: Sequences.of([self._prepare(m, part) for part in features[m]]) for m in MODALITIES},
            folds={1: Fold(*(np.arange(end, dtype=np.int64) for end in (0, 0, count)))},
        )
        torch.set_num_threads(1)
        with autocast("cpu", self.precision):
            probabilities = predict(self.network, Examples(inputs, 1, "test"), ALL_CONDITIONS)
        found: NDArray[np.float32] = probabilities.numpy()
        return found

    def _prepare(self, modality: Modality, part: NDArray[np.float32] | None) -> NDArray[np.float32]:
        if part is None:
            return np.zeros((self.lengths[modality], self.dimensions[modality]), np.float32)
        if modality not in self.statistics:
            return part
        mean, deviation = self.statistics[modality]
        prepared: NDArray[np.float32] = (part - mean) / deviation
        return prepared


def predict_utterances(
    runs: Iterable[TrainedRun], names: Sequence[str], features: Features, *, every_condition: bool = False
) -> pd.DataFrame:
    """The mean of the class probabilities that runs of one system give to utterances.

    Columns: utterance, condition, prediction (a class), and `p_CLASS` for each class, in float32.

    Args:
        every_condition: a row for every condition that an utterance has the modalities of, instead of the one of all it
            has.

    Raises:
        UserError: there is no utterance or none of its modalities, or the features are not such as the runs were
            trained on.
    """
    sums: NDArray[np.float64] = np.zeros(())
    for count, run in enumerate(runs, 1):
        if count == 1:
            _check(run, names, features)
        sums = sums + run.predict(features)
    probabilities = (sums / count).astype(np.float32)
    rows = []
    for index, name in enumerate(names):
        has = tuple(features[m][index] is not None for m in MODALITIES)
        for own, condition in zip(probabilities[:, index], ALL_CONDITIONS, strict=True):
            possible = all(given or not needed for given, needed in zip(has, condition.mask, strict=True))
            if condition.mask == has or (every_condition and possible):
                rows.append((name, str(condition), run.classes[own.argmax()], *own))
    return pd.DataFrame(rows, columns=["utterance", "condition", "prediction", *(f"p_{name}" for name in run.classes)])


def _check(run: TrainedRun, names: Sequence[str], features: Features) -> None:
    if not names:
        raise UserError("There is no utterance to predict.")
    for index, name in enumerate(names):
        given = {modality: part for modality, parts in features.items() if (part := parts[index]) is not None}
        if not given:
            raise UserError(f"Utterance {name} has no modality at all.")
        for modality, part in given.items():
            if part.ndim != 2 or not len(part):
                raise UserError(f"Utterance {name}: modality {modality} must be time steps of features each.")
            if part.shape[1] != run.dimensions[modality]:
                raise UserError(
                    f"Utterance {name}: modality {modality} has {part.shape[1]} features; the trained runs expect "
                    f"{run.dimensions[modality]}."
                )
            if not np.isfinite(part).all():
                raise UserError(f"Utterance {name}: modality {modality} has features that are not numbers.")
