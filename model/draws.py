"""Random draws of a training step. They come from generators passed as arguments, never from global state.

PyTorch's own dropout draws from global state, so that a result would depend on what else ran in the process.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ifmmin.data.batches import Batch, availability
from ifmmin.data.conditions import Condition, missing_conditions
from ifmmin.model.stacking.generators import GeneratorStack

Generator: TypeAlias = torch.Generator | GeneratorStack


def dropout(x: Tensor, rate: float, generator: Generator | None) -> Tensor:
    """Zero elements with probability `rate` and scale the others by 1 / (1 - rate); without a generator, return x.

    Its draws depend on the shape of x. Where x has padded time steps, use `dropout_over_time`.
    """
    if generator is None or rate == 0:
        return x
    shape, dtype, device = x.shape, x.dtype, x.device
    kept = drawn(
        lambda one: torch.empty(shape, dtype=dtype, device=device).bernoulli_(1 - rate, generator=one), x, generator
    )
    return x * kept.div(1 - rate)


def dropout_over_time(x: Tensor, rate: float, generator: Generator | None) -> Tensor:
    """Dropout of x, (batch, time, features), whose draws do not depend on padding; without a generator, return x."""
    if generator is None or rate == 0:
        return x
    kept = uniform_over_time(x, generator) >= rate
    return x * kept.to(x.dtype).div(1 - rate)


def uniform_over_time(like: Tensor, generator: Generator) -> Tensor:
    """Uniform draws in [0, 1), float32 in the shape of `like`, (batch, time, features).

    A draw depends on the generator, its row, step and feature, and not on how far the batch is padded: the generator
    draws a number for each row, and what follows is a hash of that number, the step and the feature (the finaliser of
    SplitMix64; Steele et al., OOPSLA 2014).
    """
    rows, steps, features = like.shape
    seeds = drawn(
        lambda one: torch.randint(-(2**63), 2**63 - 1, (rows,), generator=one, device=one.device), like, generator
    )
    step, feature = (torch.arange(count, device=like.device) for count in (steps, features))
    by_step = _mixed(seeds.to(like.device)[:, None] + (step + 1) * _GOLDEN)
    by_feature = _mixed(by_step[:, :, None] + (feature + 1) * _GOLDEN)
    uniform: Tensor = _shifted(by_feature, 40).float() / 2**24
    return uniform


_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
"""SplitMix64's increment, as a signed integer."""


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ _shifted(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift x by `bits` to the right, with zeros coming in from the left."""
    shifted: Tensor = (x >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def draw_availability(batch: Batch, generator: Generator, conditions: Sequence[Condition] | None = None) -> Tensor:
    """What each utterance of a batch is left with at this visit: a mask, bool (batch, modalities).

    A condition is drawn uniformly among those that leave the utterance with something; what it lacks is missing too.

    Args:
        conditions: those to draw from; by default all in which a modality is missing.
    """
    chosen_from = missing_conditions(batch.letters) if conditions is None else tuple(conditions)
    masks, count = availability(chosen_from, batch.letters, batch.rows.device), len(batch)
    chosen = drawn(
        lambda one: torch.randint(len(masks), (count,), generator=one, device=one.device), batch.rows, generator
    )
    if batch.present is None:
        return masks[chosen]
    possible = (masks & batch.present[:, None]).any(2)
    share = drawn(
        lambda one: torch.rand(count, generator=one, device=one.device, dtype=torch.float64), batch.rows, generator
    )
    rank = (share.to(masks.device) * possible.sum(1)).long()
    among_possible = ((possible.cumsum(1) == rank[:, None] + 1) & possible).int().argmax(1)
    return masks[torch.where(batch.present.all(1), chosen.to(masks.device), among_possible)] & batch.present


def drawn(draw: Callable[[torch.Generator], Tensor], like: Tensor, generator: Generator) -> Tensor:
    """The result of `draw` with the generator, or with each run's where several runs train as one.

    Args:
        like: a tensor of the run.
    """
    return draw(generator) if isinstance(generator, torch.Generator) else generator.drawn(draw, like)
