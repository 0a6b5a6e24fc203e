"""Losses that PyTorch does not have: the central moment discrepancy."""

from itertools import combinations

import torch
from torch import Tensor


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


def pairwise_discrepancy(features: Tensor, moment_order: int) -> Tensor:
    """L_cmd (Zuo et al., ICASSP 2023): the mean of CMD_K over the three pairs of modalities, a scalar.

    Args:
        features: H of the three modalities, (batch, 3, hidden).
        moment_order: K.
    """
    moments = [_moments(part, moment_order) for part in features.unbind(1)]
    return torch.stack([_distance(x, y) for x, y in combinations(moments, 2)]).mean()


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
