"""Training with modalities removed at a rate, which is training on a corpus that lacks them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ifmmin.data.batches import Examples
from ifmmin.data.corpus import Corpus
from ifmmin.model.conformance.training import hyperparameters_for, upstream_of
from ifmmin.model.run import Start, Trained, TrainingRun, removed_in_training
from ifmmin.model.stacking.training import train_stacked
from ifmmin.model.systems import REFERENCE, SYSTEMS
from ifmmin.model.training import train
from tests.small import make_corpus

CORPUS = make_corpus()
RATES = {"a": 0.5, "v": 0.2, "t": 0.4}
START = Start(1, 0, train_missing=RATES)


def without(corpus: Corpus, removed: torch.Tensor, fill: float | None = None) -> Corpus:
    """The corpus from whose first training set modalities are removed, or in which a value stands there instead."""
    sequences = dict(corpus.sequences)
    for letter, which in zip(corpus.letters, removed.unbind(1), strict=True):
        absent = np.zeros(len(corpus), dtype=bool)
        absent[corpus.folds[1].train] = which.numpy()
        if fill is None:
            sequences[letter] = sequences[letter].keep(~absent)
        else:
            frames = np.repeat(absent, sequences[letter].lengths)
            sequences[letter] = replace(
                sequences[letter], values=np.where(frames[:, None], np.float32(fill), sequences[letter].values)
            )
    return replace(corpus, sequences=sequences, fingerprint=f"{corpus.fingerprint} without {fill}")


def test_examples_without_modalities_are_batches_of_a_corpus_that_lacks_them() -> None:
    corpus = make_corpus(modalities=tuple(replace(m, standardised=False) for m in CORPUS.modalities))
    removed = removed_in_training(corpus, START)
    assert removed is not None
    rows = torch.arange(len(corpus.folds[1].train))
    batch = Examples(corpus, 1, "train", removed=removed).batch(rows)
    expected = Examples(without(corpus, removed), 1, "train").batch(rows)
    assert batch.present is not None
    assert expected.present is not None
    assert torch.equal(batch.present, expected.present)
    for letter in corpus.letters:
        steps = min(batch.features[letter].shape[1], expected.features[letter].shape[1])
        assert torch.equal(batch.features[letter][:, :steps], expected.features[letter][:, :steps])
        there = batch.has(letter)
        assert torch.equal(batch.lengths[letter][there], expected.lengths[letter][there])
        assert not batch.features[letter][~there].any()  # type: ignore[operator]


@pytest.mark.parametrize("value", [1e3, np.nan])
def test_what_was_removed_is_never_read(value: float) -> None:
    corpus = make_corpus(modalities=tuple(replace(m, standardised=False) for m in CORPUS.modalities))
    removed = removed_in_training(corpus, START)
    assert removed is not None
    for system in SYSTEMS.values():
        first = next(iter(system.stages.values()))
        condition = first.networks(corpus.letters)[-1]
        results = [
            train(first, hyperparameters_for(first, epochs=1), variant, START, condition=condition)
            for variant in (corpus, without(corpus, removed, value))
        ]
        assert results[0].history[0].losses == results[1].history[0].losses, system.name
        for name, weights in results[0].weights.items():
            assert np.array_equal(weights, results[1].weights[name]), (system.name, name)


def test_every_stage_and_system_of_a_run_lacks_the_same_and_validation_lacks_nothing() -> None:
    masks = []
    for name in (REFERENCE, "fusion"):
        trained: dict[str, Trained] = {}
        for stage, definition in SYSTEMS[name].stages.items():
            start = replace(START, upstream=upstream_of(SYSTEMS[name], definition, trained, CORPUS.letters))
            run = TrainingRun(definition, hyperparameters_for(definition), CORPUS, start, None, "cpu")
            assert run.validation.present is None
            assert run.training.present is not None
            masks.append(run.training.present)
            trained[stage] = train(definition, hyperparameters_for(definition, epochs=1), CORPUS, start)
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    other = removed_in_training(CORPUS, replace(START, seed=1))
    assert other is not None
    assert not torch.equal(~masks[0], other)


def test_runs_trained_as_one_lack_what_each_lacks_alone() -> None:
    (definition,) = SYSTEMS["fusion"].stages.values()
    hyperparameters = hyperparameters_for(definition, epochs=2)
    starts = [START, replace(START, fold=2)]
    for start, one in zip(starts, train_stacked(definition, hyperparameters, CORPUS, starts), strict=True):
        alone = train(definition, hyperparameters, CORPUS, start)
        assert not isinstance(one, Exception)
        for epoch, expected in zip(one.history, alone.history, strict=True):
            assert epoch.losses == pytest.approx(expected.losses, rel=1e-6)
