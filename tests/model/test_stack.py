"""Runs that train as one come out as each does alone; a system is tested by being registered."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ifmmin.data.corpus import Corpus, Fold, Sequences
from ifmmin.model.definition import System, Weights
from ifmmin.model.history import Checkpoint
from ifmmin.model.run import DivergedError, Start, Trained, TrainingRun
from ifmmin.model.stacking.stack import Stack
from ifmmin.model.stacking.training import train_stacked
from ifmmin.model.systems.if_mmin import PRETRAINING
from ifmmin.model.training import clip_gradients, train
from tests.model.test_systems import EACH_SYSTEM, Interrupting, hyperparameters_for, upstream_of
from tests.small import make_corpus

RUNS = [(1, 0), (2, 0), (1, 1), (3, 2)]
"""Fold and seed."""


def uneven(dtype: type) -> Corpus:
    """A corpus whose folds have training and validation sets of different sizes."""
    corpus = make_corpus(utterances=80)
    order = np.random.default_rng(3).permutation(80)
    cuts = {1: (40, 60), 2: (35, 64), 3: (48, 60)}
    folds = {fold: Fold(*np.split(order, cut)) for fold, cut in cuts.items()}
    sequences = {m: Sequences(parts.values.astype(dtype), parts.offsets) for m, parts in corpus.sequences.items()}
    return replace(corpus, folds=folds, sequences=sequences)


def completed(result: Trained | DivergedError) -> Trained:
    assert isinstance(result, Trained)
    return result


def largest_difference(first: Weights, second: Weights) -> float:
    return max(float(np.abs(value - second[name]).max()) for name, value in first.items())


def assert_stacked_as_alone(system: System) -> None:
    """Two epochs of four runs of every stage, trained as one and each alone, in float64."""
    corpus = uneven(np.float64)
    earlier: list[dict[str, Trained]] = [{} for _ in RUNS]
    for stage, definition in system.stages.items():
        hyperparameters = hyperparameters_for(definition, epochs=2)
        starts = [
            Start(*run, upstream_of(system, definition, trained, corpus.letters))
            for run, trained in zip(RUNS, earlier, strict=True)
        ]
        networks = definition.networks(corpus.letters)
        for condition in networks[:: max(1, len(networks) // 2)]:
            together = train_stacked(definition, hyperparameters, corpus, starts, condition=condition)
            alone = [train(definition, hyperparameters, corpus, start, condition=condition) for start in starts]
            for one, other, trained in zip(map(completed, together), alone, earlier, strict=True):
                # Adam divides by the size of a gradient, and so magnifies the rounding of a small one.
                assert largest_difference(one.weights, other.weights) < 1e-6
                for epoch, expected in zip(one.history, other.history, strict=True):
                    assert epoch.losses == pytest.approx(expected.losses, rel=1e-7)
                    assert replace(epoch, losses={}, seconds=0) == replace(expected, losses={}, seconds=0)
                trained[f"{stage}-{condition}" if condition else stage] = other


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("system", EACH_SYSTEM)
def test_each_of_several_runs_comes_out_as_it_does_alone(system: System) -> None:
    assert_stacked_as_alone(system)


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
