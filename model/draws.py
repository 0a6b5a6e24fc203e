"""Random draws of a training step. They come from generators that are handed in, never from global state.

PyTorch's own dropout draws from global state, so that a result would depend on what else ran in the process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ifmmin.data.batches import availability
from ifmmin.data.conditions import MISSING_CONDITIONS


@dataclass(frozen=True)
class GeneratorStack:
    """The generators of runs that train as one (see `model.stacking.stack`), each for its own run."""

    generators: tuple[torch.Generator, ...]


Generator: TypeAlias = torch.Generator | GeneratorStack


def dropout(x: Tensor, rate: float, generator: Generator | None) -> Tensor:
    """Zero elements with probability `rate` and scale the others by 1 / (1 - rate).

    That there is no generator is how a network knows that it is being evaluated: no other mode exists.
    """
    if generator is None or rate == 0:
        return x
    shape, dtype, device = x.shape, x.dtype, x.device
    kept = drawn(
        lambda own: torch.empty(shape, dtype=dtype, device=device).bernoulli_(1 - rate, generator=own), x, generator
    )
    return x * kept.div(1 - rate)


def draw_availability(like: Tensor, generator: Generator) -> Tensor:
    """One of the six missing conditions for each utterance, uniformly: a mask, bool (batch, 3).

    Args:
        like: anything of these utterances, (batch, ...).
    """
    masks, count = availability(MISSING_CONDITIONS, like.device), len(like)
    chosen = drawn(lambda own: torch.randint(len(masks), (count,), generator=own, device=own.device), like, generator)
    return masks[chosen]


def drawn(draw: Callable[[torch.Generator], Tensor], like: Tensor, generator: Generator) -> Tensor:
    """What `draw` makes of the generator, or, of runs that train as one, of every run's own.

    Args:
        like: a tensor of the run (so that under `torch.vmap` it is known that there are several).
    """
    if isinstance(generator, torch.Generator):
        return draw(generator)
    value: Tensor = _DrawnByEachRun.apply(like, draw, generator)  # type: ignore[no-untyped-call]
    return value


class _DrawnByEachRun(torch.autograd.Function):
    """`torch.vmap` cannot draw from several generators; what it calls for this function can."""

    @staticmethod
    def forward(like: Tensor, draw: Any, stack: GeneratorStack) -> Tensor:
        raise NotImplementedError("A stack of generators draws under torch.vmap only.")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, _dims: Any, _like: Tensor, draw: Any, stack: GeneratorStack) -> tuple[Tensor, int]:
        assert info.batch_size == len(stack.generators)
        return torch.stack([draw(generator) for generator in stack.generators]), 0
