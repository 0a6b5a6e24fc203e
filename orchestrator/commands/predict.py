"""What `predict` does: new utterances from files, the trained runs from the store, predictions into a file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import typer

from ifmmin.data.conditions import MODALITIES
from ifmmin.data.corpus import training_statistics
from ifmmin.data.errors import UserError, nearest
from ifmmin.data.layouts.table import read_features, read_utterances
from ifmmin.model.ensemble import TrainedRun, predict_utterances
from ifmmin.orchestrator.analysis.scores import completed_runs
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import STORAGE
from ifmmin.orchestrator.planning.plan import Run
from ifmmin.orchestrator.reporting.tables import count_of

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
    """Write what the complete runs of a system predict for utterances, see `model.ensemble.predict_utterances`.

    Args:
        root: utterances in the layout of `data.layouts.table`; a file or row that is missing is a missing modality.
        output: a CSV or Parquet file.
        system: by default the experiment's first.
        fold, seed: of the runs to ask; by default all.

    Raises:
        UserError: there is no such run, the inputs are not as the layout or the corpus has them, or the output cannot
            be written.
    """
    if output.suffix not in SUFFIXES:
        raise UserError(f"--output {output} must end in {' or '.join(SUFFIXES)}.")
    experiment = Experiment.recorded(name, storage or STORAGE)
    runs = _choose(experiment, system, fold, seed)
    names = read_utterances(root)["utterance"].to_pylist()
    trained = trained_runs(experiment, runs)
    frame = predict_utterances(trained, names, read_features(root, names), every_condition=every_condition)
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


def trained_runs(experiment: Experiment, runs: Iterable[Run]) -> Iterator[TrainedRun]:
    """What the store and the corpus hold of complete runs, one after the other."""
    corpus = experiment.corpus
    for run in runs:
        stage, train = experiment.plan.stages[run.evaluation], corpus.folds[run.fold].train
        yield TrainedRun(
            fold=run.fold,
            seed=run.seed,
            recipe=stage.definition,
            parameters=stage.hyperparameters,
            precision=stage.precision,
            classes=corpus.classes,
            dimensions=corpus.dimensions,
            lengths={m: int(np.median(corpus.sequences[m].lengths[train])) for m in MODALITIES},
            statistics={m: training_statistics(corpus, run.fold, m) for m in corpus.standardised},
            weights=[experiment.store.read_weights(key) for key in stage.upstream.values()],
        )


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
