"""The trained networks of complete runs with all that their predictions depend on, for `predict` and for serving."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ifmmin.data.corpus import standardisation, training_lengths
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.catalogue import load_outside_systems
from ifmmin.orchestrator.planning.plan import Run

if TYPE_CHECKING:
    from ifmmin.model.ensemble import TrainedRun


def trained_runs(experiment: Experiment, runs: Iterable[Run]) -> "Iterator[TrainedRun]":
    """Complete runs as they predict, one after the other, from the store and the corpus."""
    from ifmmin.model.ensemble import TrainedRun

    load_outside_systems()
    corpus = experiment.corpus
    for run in runs:
        stage = experiment.plan.stages[run.evaluation]
        yield TrainedRun(
            fold=run.fold,
            seed=run.seed,
            definition=stage.definition,
            hyperparameters=stage.hyperparameters,
            precision=stage.precision,
            classes=corpus.classes,
            modalities=corpus.modalities,
            dimensions=corpus.dimensions,
            lengths=training_lengths(corpus, run.fold),
            statistics=standardisation(corpus, run.fold),
            weights=[experiment.store.read_weights(key) for key in stage.upstream.values()],
        )
