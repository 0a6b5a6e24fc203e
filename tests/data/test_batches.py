import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmmin.data.batches import Examples, availability
from ifmmin.data.conditions import ALL_CONDITIONS
from ifmmin.data.corpus import training_statistics
from tests.small import make_corpus

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


def test_masks_say_which_modalities_are_available() -> None:
    masks = availability(ALL_CONDITIONS)
    assert masks.tolist() == [list(c.mask) for c in ALL_CONDITIONS]
    with pytest.raises(IndexError):
        masks[7]
