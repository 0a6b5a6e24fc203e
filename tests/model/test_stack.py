"""Runs that train as one come to what each comes to alone; tested for every system by its being registered."""

from collections.abc import Iterator
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
from ifmmin.model.systems import SYSTEMS
from ifmmin.model.systems.if_mmin import PRETRAINING
from ifmmin.model.training import Single, train_together
from tests.model.test_systems import BreakingOff, parameters_of
from tests.small import make_corpus

RUNS = [(1, 0), (2, 0), (1, 1), (3, 2)]
"""Fold and seed."""


def uneven(dtype: type) -> Corpus:
    """A corpus whose folds have training and validation sets of different sizes."""
    corpus = make_corpus(utterances=80)
    own = np.random.default_rng(3).permutation(80)
    cuts = {1: (40, 60), 2: (35, 64), 3: (48, 60)}
    folds = {fold: Fold(*np.split(own, cut)) for fold, cut in cuts.items()}
    sequences = {m: Sequences(parts.values.astype(dtype), parts.offsets) for m, parts in corpus.sequences.items()}
    return replace(corpus, folds=folds, sequences=sequences)


@pytest.fixture
def double() -> Iterator[None]:
    """Networks in float64, so that what remains of a difference is no rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(result: Trained | DivergedError) -> Trained:
    assert isinstance(result, Trained)
    return result


def largest_difference(first: Weights, second: Weights) -> float:
    return max(float(np.abs(value - second[name]).max()) for name, value in first.items())


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_each_of_several_runs_comes_to_what_it_comes_to_alone(system: System) -> None:
    corpus = uneven(np.float64)
    upstream: dict[str, list[Weights | None]] = {"": [None] * len(RUNS)}
    for stage, recipe in system.stages.items():
        parameters = parameters_of(recipe, epochs=2)
        starts = [Start(*run, weights) for run, weights in zip(RUNS, upstream[recipe.after or ""], strict=True)]
        for condition in recipe.conditions[::3] or (None,):
            together = train_together(recipe, parameters, corpus, starts, condition=condition)
            alone = [train_together(recipe, parameters, corpus, [start], condition=condition)[0] for start in starts]
            for one, other in zip(map(trained, together), map(trained, alone), strict=True):
                # Adam divides by the size of a gradient, and so magnifies the rounding of a small one.
                assert largest_difference(one.weights, other.weights) < 1e-6
                for epoch, expected in zip(one.history, other.history, strict=True):
                    assert epoch.losses == pytest.approx(expected.losses, rel=1e-7)
                    assert replace(epoch, losses={}, seconds=0) == replace(expected, losses={}, seconds=0)
            upstream[stage] = [trained(result).weights for result in alone]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_losses_and_clipped_gradients_of_a_step_are_those_of_each_run_alone(
    dtype: torch.dtype, tolerance: float, request: pytest.FixtureRequest
) -> None:
    if dtype == torch.float64:
        request.getfixturevalue("double")
    corpus = uneven(np.float64 if dtype == torch.float64 else np.float32)
    parameters, rows = parameters_of(PRETRAINING), [torch.arange(first, first + 9) for first in (20, 0, 5)]
    together, alone = (
        [TrainingRun(PRETRAINING, parameters, corpus, Start(*run), None, "cpu") for run in RUNS[:3]] for _ in range(2)
    )
    losses = Stack(together, "float32").step([0, 1, 2], rows)
    for index, run in enumerate(alone):
        for name, expected in Single(run, "float32").step([0], [rows[index]]).items():
            torch.testing.assert_close(losses[name][index], expected[0], rtol=tolerance, atol=tolerance)
        for found, right in zip(together[index].network.parameters(), run.network.parameters(), strict=True):
            assert found.grad is not None
            torch.testing.assert_close(found.grad, right.grad, rtol=tolerance, atol=tolerance)


def test_runs_go_on_from_where_each_was_broken_off() -> None:
    corpus, parameters = uneven(np.float32), parameters_of(PRETRAINING, epochs=3)
    whole = train_together(PRETRAINING, parameters, corpus, [Start(*run) for run in RUNS[:2]])
    kept = [BreakingOff(), BreakingOff()]
    starts = [Start(*run, checkpoints=own) for run, own in zip(RUNS[:2], kept, strict=True)]
    for own in kept:  # The first is kept in the first call, the second in the second, an epoch after the first.
        with pytest.raises(InterruptedError):
            train_together(PRETRAINING, parameters, corpus, starts)
        assert isinstance(own.kept, Checkpoint)
    resumed = train_together(PRETRAINING, parameters, corpus, starts)
    for one, other in zip(map(trained, resumed), map(trained, whole), strict=True):
        assert largest_difference(one.weights, other.weights) < 1e-5
        assert len(one.history) == 3


def test_a_run_that_diverges_does_not_hurt_its_mates() -> None:
    corpus, parameters = uneven(np.float32), parameters_of(PRETRAINING, epochs=2)
    poisoned = corpus.folds[3].train[~np.isin(corpus.folds[3].train, corpus.folds[1].train)]
    sequences = dict(corpus.sequences)
    values: NDArray[np.float32] = sequences["v"].values.copy()
    for index in poisoned:
        values[slice(*sequences["v"].offsets[index : index + 2])] = np.inf
    corpus = replace(corpus, sequences={**sequences, "v": Sequences(values, sequences["v"].offsets)})
    healthy, diverged = train_together(PRETRAINING, parameters, corpus, [Start(1, 0), Start(3, 0)])
    assert isinstance(diverged, DivergedError)
    (alone,) = train_together(PRETRAINING, parameters, corpus, [Start(1, 0)])
    assert largest_difference(trained(healthy).weights, trained(alone).weights) < 1e-3
