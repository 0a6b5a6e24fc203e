"""Losses that PyTorch does not have: the central moment discrepancy, and means over what utterances have."""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F


def error_of_features(x: Tensor, target: Tensor, present: Tensor | None) -> Tensor:
    """The mean squared error over the features of modalities that utterances have, a scalar; 0 if there are none.

    Args:
        x, target: (batch, modalities, hidden).
        present: which modalities each utterance has, bool (batch, modalities); None if every one has all.
    """
    return mean_squared_error(x, target, None if present is None else present[..., None])


def mean_squared_error(x: Tensor, target: Tensor, counts: Tensor | None) -> Tensor:
    """The mean squared error over the elements that count, bool as x but for dimensions of 1, a scalar; 0 if none does.

    Without `counts`, over all.
    """
    if counts is None:
        return F.mse_loss(x, target)
    errors = torch.where(counts, wide(x) - target, 0)
    return errors.square().sum() / counts.expand_as(x).sum().clamp(min=1)


def mean_cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor | None) -> Tensor:
    """The mean cross-entropy of utterances that count, bool (batch,), a scalar; 0 if none does. Without, of all."""
    if counts is None:
        return F.cross_entropy(logits, labels)
    of_each = F.cross_entropy(logits, labels, reduction="none")
    return torch.where(counts, of_each, 0).sum() / counts.sum().clamp(min=1)


def wide(x: Tensor) -> Tensor:
    """X in float32 where it is bfloat16."""
    return x.float() if x.dtype == torch.bfloat16 else x


def central_moment_discrepancy(x: Tensor, y: Tensor, moment_order: int) -> Tensor:
    """CMD_K(x, y) = ||mean(x) - mean(y)||_2 + sum over k = 2..K of ||C_k(x) - C_k(y)||_2, a scalar.

    C_k is the vector of k-th central sample moments of each coordinate over the batch. Unlike in the original, moments
    are not scaled by an interval (Zellinger et al., ICLR 2017, with b - a = 1).

    Args:
        x: samples, (batch, features).
        y: samples, (batch, features); the batch may differ from that of x.
        moment_order: K, at least 1; 1 compares means only.
    """
    return _distance(_moments(x, moment_order), _moments(y, moment_order))


def pairwise_discrepancy(features: Tensor, moment_order: int, present: Tensor | None = None) -> Tensor:
    """L_cmd (Zuo et al., ICASSP 2023): the mean of CMD_K over all pairs of modalities, a scalar.

    Where utterances lack modalities, a pair is compared over those that have both. A pair that none has does not count;
    without any pair the discrepancy is 0.

    Args:
        features: H of the modalities, (batch, modalities, hidden).
        moment_order: K.
        present: which modalities each utterance has, bool (batch, modalities); None if every one has all.
    """
    if present is not None:
        return _discrepancy_of_present(features, moment_order, present)
    moments = [_moments(part, moment_order) for part in features.unbind(1)]
    return torch.stack([_distance(x, y) for x, y in combinations(moments, 2)]).mean()


def _discrepancy_of_present(features: Tensor, moment_order: int, present: Tensor) -> Tensor:
    distances, counts = [], []
    for one, other in combinations(range(features.shape[1]), 2):
        both = present[:, one] & present[:, other]
        x, y = (_moments_of(features[:, index], moment_order, both) for index in (one, other))
        distances.append(_distance(x, y))
        counts.append(both.any())
    return torch.stack(distances).sum() / torch.stack(counts).sum().clamp(min=1)


def _moments_of(x: Tensor, moment_order: int, counts: Tensor) -> Tensor:
    """`_moments` of the rows that count, bool (batch,); zeros if none does."""
    number = counts.sum().clamp(min=1)
    mean = torch.where(counts[:, None], x, 0).sum(0) / number
    deviation = torch.where(counts[:, None], x - mean, 0)
    moments, power = [mean], deviation
    for _ in range(2, moment_order + 1):
        power = power * deviation
        moments.append(power.sum(0) / number)
    return torch.stack(moments)


def _moments(x: Tensor, moment_order: int) -> Tensor:
    mean = x.mean(0)
    deviation = x - mean
    moments, power = [mean], deviation
    for _ in range(2, moment_order + 1):
        power = power * deviation
        moments.append(power.mean(0))
    return torch.stack(moments)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    # vector_norm's gradient at zero is zero, not NaN: equal inputs are at the minimum.
    distances: Tensor = torch.linalg.vector_norm(x - y, dim=1)
    return distances.sum()
