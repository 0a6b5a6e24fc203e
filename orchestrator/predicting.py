"""Predictions of new utterances, with any modalities missing, by the trained runs of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import typer
from numpy.typing import NDArray

from data.batches import Examples
from data.conditions import ALL_CONDITIONS, MODALITIES, Modality
from data.corpus import Corpus, Fold, Sequences, training_statistics
from data.errors import UserError, nearest
from data.layouts.table import Features, read_features, read_utterances
from model.evaluation import predict
from model.recipe import Network
from model.run import Precision, autocast
from model.systems import RECIPES
from model.training import trained_network
from orchestrator.configuration import STORAGE
from orchestrator.experiment import Experiment
from orchestrator.plan import Run
from orchestrator.results import completed_runs
from orchestrator.table import count_of

SUFFIXES = (".csv", ".parquet")


def predict_inputs(
    name: str,
    storage: str | None,
    root: Path,
    output: Path,
    *,
    system: str | None = None,
    fold: int | None = None,
    seed: int | None = None,
    every_condition: bool = False,
) -> None:
    """Write the mean of the class probabilities that the complete runs of a system give to utterances.

    Columns: utterance, condition, prediction (a class), and `p_CLASS` for each class.

    Args:
        root: utterances in the layout of `data.layouts.table`; a file or row that is missing is a missing modality.
        output: a CSV or Parquet file.
        system: by default the experiment's first.
        fold, seed: of the runs to ask; by default all.
        every_condition: a row for every condition that an utterance has the modalities of, instead of the one of all it
            has.

    Raises:
        UserError: there is no such run, the inputs are not as the layout or the corpus has them, or the output cannot
            be written.
    """
    if output.suffix not in SUFFIXES:
        raise UserError(f"--output {output} must end in {' or '.join(SUFFIXES)}.")
    experiment = Experiment.recorded(name, storage or STORAGE)
    runs = _choose(experiment, system, fold, seed)
    names = read_utterances(root)["utterance"].to_pylist()
    features = read_features(root, names)
    _check(experiment.corpus, root, names, features)
    sums = np.zeros((len(ALL_CONDITIONS), len(names), len(experiment.corpus.classes)))
    for run in runs:
        sums += Member.of(experiment, run).predict(features)
    frame = _frame(names, features, sums / len(runs), experiment.corpus.classes, every_condition=every_condition)
    try:
        if output.suffix == ".csv":
            frame.to_csv(output, index=False)
        else:
            frame.to_parquet(output, index=False)
    except OSError as error:
        raise UserError(f"The predictions cannot be written to {output}: {error.strerror or error}.") from None
    what = ", ".join(
        f"{count:,} {condition}" for condition, count in frame["condition"].value_counts(sort=False).items()
    )
    typer.echo(f"{len(frame):,} predictions ({what}) by {count_of(len(runs), 'run')} of {runs[0].system}: {output}")


def _choose(experiment: Experiment, system: str | None, fold: int | None, seed: int | None) -> list[Run]:
    runs = completed_runs(experiment.plan, experiment.store)
    systems = list(dict.fromkeys(run.system for run in runs))
    if not systems:
        raise UserError(f"No run of experiment '{experiment.configuration.name}' is complete yet; run it first.")
    chosen = system or systems[0]
    if chosen not in systems:
        raise UserError(f"--system {chosen}: {nearest(chosen, systems)}")
    found = [run for run in runs if run.system == chosen and fold in (None, run.fold) and seed in (None, run.seed)]
    if not found:
        raise UserError(
            f"No complete run of {chosen} has fold {fold or 'any'} and seed {'any' if seed is None else seed}."
        )
    return found


def _check(corpus: Corpus, root: Path, names: Sequence[str], features: Features) -> None:
    for modality, parts in features.items():
        for part in parts:
            if part is not None and part.shape[1] != corpus.dimensions[modality]:
                raise UserError(
                    f"{root}: modality {modality} has {part.shape[1]} features, and corpus '{corpus.name}' "
                    f"{corpus.dimensions[modality]}."
                )
            if part is not None and not np.isfinite(part).all():
                raise UserError(f"{root}: modality {modality} has features that are not numbers.")
    for index, name in enumerate(names):
        if all(parts[index] is None for parts in features.values()):
            raise UserError(f"{root}: utterance {name} has no modality at all.")


def _frame(
    names: Sequence[str],
    features: Features,
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    *,
    every_condition: bool,
) -> pd.DataFrame:
    """A row for each utterance in its own condition, or in each that it has the modalities of."""
    rows = []
    for index, name in enumerate(names):
        has = tuple(features[m][index] is not None for m in MODALITIES)
        for place, condition in enumerate(ALL_CONDITIONS):
            possible = all(own or not needed for own, needed in zip(has, condition.mask, strict=True))
            if condition.mask == has or (every_condition and possible):
                own = probabilities[place, index]
                rows.append((name, str(condition), classes[own.argmax()], *own.astype(np.float32)))
    return pd.DataFrame(rows, columns=["utterance", "condition", "prediction", *(f"p_{name}" for name in classes)])


@dataclass(frozen=True)
class Member:
    """One trained run, with what it knows of its training set.

    Attributes:
        statistics: mean and deviation of the modalities that are standardised.
        lengths: for each modality the median length of the training set's utterances, in time steps.
        dimensions: for each modality its number of features.
    """

    network: Network
    precision: Precision
    statistics: Mapping[Modality, tuple[NDArray[np.float32], NDArray[np.float32]]]
    lengths: Mapping[Modality, int]
    dimensions: Mapping[Modality, int]

    @classmethod
    def of(cls, experiment: Experiment, run: Run) -> "Member":
        """The network that the run's evaluation evaluates."""
        stage, corpus = experiment.plan.stages[run.evaluation], experiment.corpus
        recipe = RECIPES[stage.recipe]
        weights = [experiment.store.read_weights(key) for key in stage.upstream]
        train = corpus.folds[run.fold].train
        return cls(
            trained_network(recipe, recipe.parameters(**stage.parameters), corpus, weights),  # type: ignore[arg-type]
            stage.precision,
            {m: training_statistics(corpus, run.fold, m) for m in corpus.standardised},
            {m: int(np.median(corpus.sequences[m].lengths[train])) for m in MODALITIES},
            corpus.dimensions,
        )

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
