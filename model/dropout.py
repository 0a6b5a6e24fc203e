"""Dropout whose draws come from a generator that is handed in; without one nothing is dropped."""

import torch
from torch import Tensor


def dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Zero elements with probability `rate` and scale the others by 1 / (1 - rate).

    PyTorch's own dropout draws from global state, so that a result would depend on what else ran in the process. That
    there is no generator is also how a network knows that it is being evaluated: no other mode exists.
    """
    if generator is None or rate == 0:
        return x
    kept = torch.empty_like(x).bernoulli_(1 - rate, generator=generator)
    return x * kept.div_(1 - rate)
