"""The trained networks of complete runs with all that their predictions depend on, for `predict` and for serving."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ifmmin.data.conditions import MODALITIES
from ifmmin.data.corpus import training_statistics
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import Run

if TYPE_CHECKING:
    from ifmmin.model.ensemble import TrainedRun


def trained_runs(experiment: Experiment, runs: Iterable[Run]) -> "Iterator[TrainedRun]":
    """Complete runs as they predict, one after the other, from the store and the corpus."""
    from ifmmin.model.ensemble import TrainedRun

    corpus = experiment.corpus
    for run in runs:
        stage, train = experiment.plan.stages[run.evaluation], corpus.folds[run.fold].train
        yield TrainedRun(
            fold=run.fold,
            seed=run.seed,
            definition=stage.definition,
            hyperparameters=stage.hyperparameters,
            precision=stage.precision,
            classes=corpus.classes,
            dimensions=corpus.dimensions,
            lengths={m: int(np.median(corpus.sequences[m].lengths[train])) for m in MODALITIES},
            statistics={m: training_statistics(corpus, run.fold, m) for m in corpus.standardised},
            weights=[experiment.store.read_weights(key) for key in stage.upstream.values()],
        )
