"""The field's two metrics of classification."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score, recall_score


def weighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """WA: the share of all utterances that are classified correctly, from 0 to 1.

    >>> weighted_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.75
    """
    return float(accuracy_score(labels, predictions))


def unweighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """UA, also called UAR: the mean of the recalls of those classes that occur among the labels, from 0 to 1.

    >>> unweighted_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    return float(recall_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0))
