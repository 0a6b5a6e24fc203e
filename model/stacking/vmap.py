"""What a function needs to know to work under `torch.vmap`, where several runs compute as one."""

from collections.abc import Sequence

import torch
from torch import Tensor


def is_stacked(x: Tensor) -> bool:
    """Whether this is one run's view of a tensor of several, so that no shape may depend on its values."""
    stacked: bool = torch._C._functorch.is_batchedtensor(x)
    return stacked


def runs_first(tensors: Sequence[Tensor], in_dims: Sequence[int | None], runs: int) -> list[Tensor]:
    """Tensors with a leading dimension of runs, as a function's `vmap` method takes them."""
    return [
        tensor.expand(runs, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]
