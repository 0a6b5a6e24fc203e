import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=300))
def test_both_metrics_equal_those_of_scikit_learn_bit_for_bit(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs).T
    assert weighted_accuracy(labels, predictions) == accuracy_score(labels, predictions)
    classes = np.unique(labels)
    assert unweighted_accuracy(labels, predictions) == recall_score(
        labels, predictions, labels=classes, average="macro", zero_division=0
    )
