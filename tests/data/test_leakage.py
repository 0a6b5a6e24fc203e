"""Nothing of validation and test sets reaches training through what is computed of the data."""

from dataclasses import replace

import numpy as np
import pytest

from ifmmin.data.corpus import Sequences, training_statistics
from tests.small import make_corpus


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_training_statistics_see_training_utterances_alone(fold: int) -> None:
    corpus = make_corpus()
    sequences = corpus.sequences["a"]
    changed = sequences.values.copy()
    for index in [*corpus.folds[fold].validation, *corpus.folds[fold].test]:
        changed[slice(*sequences.offsets[index : index + 2])] = 1e4
    other = replace(corpus, sequences={**corpus.sequences, "a": Sequences(changed, sequences.offsets)})
    for before, after in zip(
        training_statistics(corpus, fold, "a"), training_statistics(other, fold, "a"), strict=True
    ):
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
