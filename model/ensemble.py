"""Predictions for utterances outside the corpus, with any modalities missing, by trained runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ifmmin.data.batches import Inputs
from ifmmin.data.conditions import all_conditions
from ifmmin.data.corpus import Features, Statistics
from ifmmin.data.dialogues import Dialogues
from ifmmin.data.errors import UserError, listed
from ifmmin.data.modalities import Modality, letters_of
from ifmmin.model.definition import Network, Shape, Weights
from ifmmin.model.evaluation import predict
from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.model.run import Precision, autocast
from ifmmin.model.systems import DEFINITIONS
from ifmmin.model.training import trained_network


@dataclass(frozen=True)
class TrainedRun:
    """Everything that the predictions of a trained run depend on, so that it needs neither corpus nor store.

    Attributes:
        definition: a name in `model.systems.DEFINITIONS`.
        modalities: of the corpus, in its order.
        dimensions: for each modality its number of features.
        lengths: for each modality the median length of the training set's utterances, in time steps.
        statistics: mean and deviation over the training set of the modalities that are standardised.
        weights: of the one network, or of each condition of the definition, in their order.
    """

    fold: int
    seed: int
    definition: str
    hyperparameters: Mapping[str, HyperparameterValue]
    precision: Precision
    classes: Sequence[str]
    modalities: tuple[Modality, ...]
    dimensions: Mapping[str, int]
    lengths: Mapping[str, int]
    statistics: Mapping[str, Statistics]
    weights: Sequence[Weights]

    @property
    def letters(self) -> tuple[str, ...]:
        """Those of the modalities, in their order."""
        return letters_of(self.modalities)

    @cached_property
    def network(self) -> Network:
        """The network that was evaluated on the test set."""
        definition = DEFINITIONS[self.definition]
        shape = Shape(self.modalities, self.dimensions, len(self.classes))
        return trained_network(definition, definition.make_hyperparameters(self.hyperparameters), shape, self.weights)

    def predict(self, features: Features, dialogues: Dialogues | None = None) -> NDArray[np.float32]:
        """Class probabilities in every condition, (conditions, utterances, classes).

        A missing modality is replaced by zeros of the median length; networks use nothing of it but its length.

        Args:
            features: of the utterances.
            dialogues: of the utterances; without, each is one by itself.
        """
        if DEFINITIONS[self.definition].unit == "utterance":
            dialogues = None
        elif dialogues is None:
            dialogues = Dialogues.of([None] * len(features[self.letters[0]]))
        inputs = Inputs(features, self.dimensions, self.lengths, self.statistics, dialogues)
        torch.set_num_threads(1)
        with autocast("cpu", self.precision):
            probabilities: NDArray[np.float32] = predict(self.network, inputs, all_conditions(self.letters)).numpy()
        return probabilities


def predict_utterances(
    runs: Iterable[TrainedRun],
    names: Sequence[str],
    features: Features,
    *,
    dialogues: Sequence[str | None] | None = None,
    turns: Sequence[float | None] | None = None,
    every_condition: bool = False,
) -> pd.DataFrame:
    """The mean over runs of one system of their class probabilities for utterances.

    Columns: utterance, condition, prediction (a class), and `p_CLASS` for each class, in float32. An utterance that has
    no modality has no row. A modality of no time steps is missing.

    Args:
        dialogues: to which each utterance belongs, by name; without, each is one by itself. The context of an utterance
            is what of its dialogue is predicted with it.
        turns: by which dialogues are ordered.
        every_condition: a row for every condition whose modalities an utterance has, instead of one for the condition
            of all that it has.

    Raises:
        UserError: there is no utterance, none has a modality, or the features do not fit the runs.
    """
    if not names:
        raise UserError("There are no utterances to predict; list them in utterances.csv.")
    rows = _rows_with_modalities(names, features)
    names, features = [names[row] for row in rows], _rows_of(features, rows)
    context = None
    if dialogues is not None:
        context = Dialogues.of(
            [dialogues[row] for row in rows], None if turns is None else [turns[row] for row in rows]
        )
    sums: NDArray[np.float64] = np.zeros(())
    for count, run in enumerate(runs, 1):
        if count == 1:
            _check(run, names, features)
        sums = sums + run.predict(features, context)
    probabilities = (sums / count).astype(np.float32)
    predictions = []
    for index, name in enumerate(names):
        available = {letter for letter in run.letters if features[letter][index] is not None}
        for condition, of_classes in zip(all_conditions(run.letters), probabilities[:, index], strict=True):
            needed = set(condition.available)
            if needed == available or (every_condition and needed < available):
                predictions.append((name, str(condition), run.classes[of_classes.argmax()], *of_classes))
    return pd.DataFrame(
        predictions, columns=["utterance", "condition", "prediction", *(f"p_{name}" for name in run.classes)]
    )


def _rows_with_modalities(names: Sequence[str], features: Features) -> list[int]:
    """The places of the utterances that have a modality."""
    rows = [row for row in range(len(names)) if any(_is_there(parts[row]) for parts in features.values())]
    if not rows:
        raise UserError(f"No utterance has a modality ({listed(names)}); give features of at least one.")
    return rows


def _rows_of(features: Features, rows: Sequence[int]) -> Features:
    """The features of these utterances; None for those of no time steps."""
    return {m: [parts[row] if _is_there(parts[row]) else None for row in rows] for m, parts in features.items()}


def _is_there(part: NDArray[np.float32] | None) -> bool:
    return part is not None and part.shape[:1] != (0,)


def _check(run: TrainedRun, names: Sequence[str], features: Features) -> None:
    damaged: dict[str, list[str]] = {}
    for modality in run.modalities:
        letter, expected = modality.letter, run.dimensions[modality.letter]
        for name, part in zip(names, features[letter], strict=True):
            if part is None:
                continue
            if part.ndim != 2:
                raise UserError(f"Utterance {name}: {letter} must be time steps of {expected} features each.")
            if modality.encoder == "linear" and len(part) > 1:
                raise UserError(f"Utterance {name}: {letter} has {len(part)} time steps; the trained runs expect one.")
            if part.shape[1] != expected:
                raise UserError(
                    f"Utterance {name}: modality {letter} has {part.shape[1]} features; the trained runs expect "
                    f"{expected}."
                )
            if not np.isfinite(part).all():
                damaged.setdefault(name, []).append(letter)
    if damaged:
        which = listed([f"{name} in {' and '.join(letters)}" for name, letters in damaged.items()])
        raise UserError(f"NaN or infinite features: {which}; fix them, or leave out these utterances or modalities.")
