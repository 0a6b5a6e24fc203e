"""Runs that train as one: their steps, their interruptions and failures; that each comes out as alone, a check says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ifmmin.data.corpus import Corpus, Sequences
from ifmmin.model.conformance.checks import RUNS
from ifmmin.model.conformance.corpora import with_uneven_sets
from ifmmin.model.conformance.training import Interrupting, hyperparameters_for
from ifmmin.model.definition import Weights
from ifmmin.model.history import Checkpoint
from ifmmin.model.run import DivergedError, Start, Trained, TrainingRun
from ifmmin.model.stacking.stack import Stack
from ifmmin.model.stacking.training import train_stacked
from ifmmin.model.systems.if_mmin import PRETRAINING
from ifmmin.model.training import clip_gradients, train
from tests.small import make_corpus


def uneven(dtype: type) -> Corpus:
    return with_uneven_sets(make_corpus(utterances=80), dtype)


def completed(result: Trained | DivergedError) -> Trained:
    assert isinstance(result, Trained)
    return result


def largest_difference(first: Weights, second: Weights) -> float:
    return max(float(np.abs(value - second[name]).max()) for name, value in first.items())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_losses_and_clipped_gradients_of_a_step_are_those_of_each_run_alone(
    dtype: torch.dtype, tolerance: float, request: pytest.FixtureRequest
) -> None:
    if dtype == torch.float64:
        request.getfixturevalue("double")
    corpus = uneven(np.float64 if dtype == torch.float64 else np.float32)
    hyperparameters, rows = hyperparameters_for(PRETRAINING), [torch.arange(first, first + 9) for first in (20, 0, 5)]
    together, alone = (
        [TrainingRun(PRETRAINING, hyperparameters, corpus, Start(*run), None, "cpu") for run in RUNS[:3]]
        for _ in range(2)
    )
    losses = Stack(together, "float32").step([0, 1, 2], rows)
    for index, run in enumerate(alone):
        expected = run.objective(run.training.batch(rows[index]), run.draws)
        expected.total.backward()
        clip_gradients(run.network, hyperparameters.gradient_clip)
        for name, value in {"total": expected.total, **expected.terms}.items():
            torch.testing.assert_close(losses[name][index], value.detach(), rtol=tolerance, atol=tolerance)
        for actual, right in zip(together[index].network.parameters(), run.network.parameters(), strict=True):
            assert actual.grad is not None
            torch.testing.assert_close(actual.grad, right.grad, rtol=tolerance, atol=tolerance)


def test_interrupted_runs_are_resumed_each_from_its_checkpoint() -> None:
    corpus, hyperparameters = uneven(np.float32), hyperparameters_for(PRETRAINING, epochs=3)
    whole = train_stacked(PRETRAINING, hyperparameters, corpus, [Start(*run) for run in RUNS[:2]])
    kept = [Interrupting(), Interrupting()]
    starts = [Start(*run, checkpoints=checkpoints) for run, checkpoints in zip(RUNS[:2], kept, strict=True)]
    for checkpoints in kept:  # The first is kept in the first call, the second in the second, an epoch after the first.
        with pytest.raises(InterruptedError):
            train_stacked(PRETRAINING, hyperparameters, corpus, starts)
        assert isinstance(checkpoints.kept, Checkpoint)
    resumed = train_stacked(PRETRAINING, hyperparameters, corpus, starts)
    for one, other in zip(map(completed, resumed), map(completed, whole), strict=True):
        assert largest_difference(one.weights, other.weights) < 1e-5
        assert len(one.history) == 3


def test_a_run_that_diverges_does_not_hurt_its_mates() -> None:
    corpus, hyperparameters = uneven(np.float32), hyperparameters_for(PRETRAINING, epochs=2)
    poisoned = corpus.folds[3].train[~np.isin(corpus.folds[3].train, corpus.folds[1].train)]
    sequences = dict(corpus.sequences)
    values: NDArray[np.float32] = sequences["v"].values.copy()
    for index in poisoned:
        values[slice(*sequences["v"].offsets[index : index + 2])] = np.inf
    corpus = replace(corpus, sequences={**sequences, "v": Sequences(values, sequences["v"].offsets)})
    healthy, diverged = train_stacked(PRETRAINING, hyperparameters, corpus, [Start(1, 0), Start(3, 0)])
    assert isinstance(diverged, DivergedError)
    alone = train(PRETRAINING, hyperparameters, corpus, Start(1, 0))
    assert largest_difference(completed(healthy).weights, alone.weights) < 1e-3
