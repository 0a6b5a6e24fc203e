"""Draws of several runs at once, each from the generator of its run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class GeneratorStack:
    """The generators of runs that train as one."""

    generators: tuple[torch.Generator, ...]

    def drawn(self, draw: Callable[[torch.Generator], Tensor], like: Tensor) -> Tensor:
        """The result of `draw` with each run's generator, under `torch.vmap`.

        Args:
            like: any tensor of the runs.
        """
        value: Tensor = _DrawnByEachRun.apply(like, draw, self)  # type: ignore[no-untyped-call]
        return value


class _DrawnByEachRun(torch.autograd.Function):
    """`torch.vmap` cannot draw from several generators; the function it calls instead can."""

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
