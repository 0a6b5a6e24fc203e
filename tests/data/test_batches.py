from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmmin.data.batches import Examples, Inputs, availability, stack_batches
from ifmmin.data.corpus import training_statistics
from tests.small import ALL_CONDITIONS, LETTERS, make_corpus

CORPUS = make_corpus()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 15), min_size=1, max_size=10))
def test_a_batch_holds_standardised_and_zero_padded_sequences(rows: list[int]) -> None:
    batch = Examples(CORPUS, 1, "validation").batch(torch.tensor(rows))
    mean, deviation = training_statistics(CORPUS, 1, "a")
    for position, row in enumerate(rows):
        index = CORPUS.folds[1].validation[row]
        assert batch.labels[position] == CORPUS.labels[index]
        for modality, features in batch.features.items():
            expected = CORPUS.sequences[modality][index]
            if modality == "a":
                expected = (expected - mean) / deviation
            length = int(batch.lengths[modality][position])
            np.testing.assert_array_equal(features[position, :length].numpy(), expected)
            assert not features[position, length:].any()


def test_batches_visit_every_utterance_once_in_order() -> None:
    examples = Examples(CORPUS, 2, "train")
    rows = torch.cat([batch.rows for batch in examples.batches(5)])
    assert rows.tolist() == list(range(len(examples)))


def test_sets_of_a_fold_share_the_features_of_the_corpus() -> None:
    examples = Examples(CORPUS, 1, "train")
    assert np.shares_memory(examples._sources["v"].values.numpy(), CORPUS.sequences["v"].values)


def test_a_stack_of_batches_holds_each_batch_padded_to_the_longest() -> None:
    sets = [Examples(CORPUS, fold, "train") for fold in (1, 2)]
    rows = [torch.tensor([3, 0, 3]), torch.tensor([1, 15, 2])]
    stack = stack_batches(sets, rows)
    for index, batch in enumerate(part.batch(r) for part, r in zip(sets, rows, strict=True)):
        assert len(batch) == 3
        assert torch.equal(stack.rows[index], batch.rows)
        assert torch.equal(stack.labels[index], batch.labels)
        for modality in LETTERS:
            steps = batch.features[modality].shape[1]
            assert torch.equal(stack.lengths[modality][index], batch.lengths[modality])
            assert torch.equal(stack.features[modality][index, :, :steps], batch.features[modality])
            assert not stack.features[modality][index, :, steps:].any()


def test_features_are_copied_to_a_device_once_for_all_sets() -> None:
    first, second = Examples(CORPUS, 1, "train", "meta"), Examples(CORPUS, 2, "test", "meta")
    assert first._sources["v"].values is second._sources["v"].values
    other = Examples(replace(CORPUS, fingerprint="another"), 1, "train", "meta")
    assert other._sources["v"].values is not first._sources["v"].values


def inputs_of(rows: np.ndarray, missing: tuple[int, str] | None = None) -> Inputs:
    """Utterances of the corpus as inputs, one of them without a modality, (place, modality)."""
    features = {
        m: [None if (place, m) == missing else CORPUS.sequences[m][row] for place, row in enumerate(rows)]
        for m in LETTERS
    }
    return Inputs(features, CORPUS.dimensions, {"a": 7, "v": 5, "t": 3}, {"a": training_statistics(CORPUS, 1, "a")})


def test_inputs_make_the_batches_of_examples_without_labels() -> None:
    examples = Examples(CORPUS, 1, "test")
    inputs = inputs_of(CORPUS.folds[1].test)
    for batch, expected in zip(inputs.batches(6), examples.batches(6), strict=True):
        assert torch.equal(batch.rows, expected.rows)
        assert len(batch.labels) == 0
        for modality in LETTERS:
            assert torch.equal(batch.features[modality], expected.features[modality])
            assert torch.equal(batch.lengths[modality], expected.lengths[modality])


@pytest.mark.parametrize(("modality", "length"), [("a", 7), ("v", 5), ("t", 3)])
def test_a_modality_that_an_input_lacks_is_zeros_of_a_length(modality: str, length: int) -> None:
    rows = CORPUS.folds[1].test
    (whole,), (lacking,) = inputs_of(rows).batches(16), inputs_of(rows, (2, modality)).batches(16)
    assert lacking.lengths[modality][2] == length
    assert not lacking.features[modality][2].any()
    for other in LETTERS:
        kept = [row for row in range(len(rows)) if (row, other) != (2, modality)]
        steps = min(whole.features[other].shape[1], lacking.features[other].shape[1])
        assert torch.equal(lacking.features[other][kept, :steps], whole.features[other][kept, :steps])


def test_masks_say_which_modalities_are_available() -> None:
    masks = availability(ALL_CONDITIONS, LETTERS)
    assert masks.tolist() == [[letter in condition for letter in "avt"] for condition in ALL_CONDITIONS]
    with pytest.raises(IndexError):
        masks[7]
