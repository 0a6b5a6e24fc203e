"""The field's two metrics of classification.

Written in NumPy because they are computed after every epoch and for every run, condition and report, where
scikit-learn's checks of its arguments take a thousand times longer than the sums; a test holds them to scikit-learn's.
"""

import numpy as np
from numpy.typing import ArrayLike


def weighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """WA: the share of all utterances that are classified correctly, from 0 to 1.

    >>> weighted_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.75
    """
    return float(np.mean(np.asarray(labels) == np.asarray(predictions)))


def unweighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """UA, also called UAR: the mean of the recalls of those classes that occur among the labels, from 0 to 1.

    >>> unweighted_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    labels = np.asarray(labels)
    correct = np.bincount(labels, weights=labels == np.asarray(predictions))
    total = np.bincount(labels)
    return float(np.mean(correct[total > 0] / total[total > 0]))
