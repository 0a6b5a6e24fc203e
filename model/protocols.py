"""Evaluation protocols beyond the fixed conditions: a trained network on test sets of which more and more is missing.

Draws depend on seed, fold and protocol alone, so that all systems lose the same modalities and time steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ifmmin.data.batches import Batch, Examples
from ifmmin.data.conditions import all_conditions, full_condition, mask_of
from ifmmin.model.definition import Network
from ifmmin.model.evaluation import EVALUATION_BATCH, predict, predict_batches
from ifmmin.model.run import stage_generator

PROTOCOL_VERSION = 2
"""Raised by hand whenever a change of the code changes its results."""


@dataclass(frozen=True)
class Protocol:
    """One way of missing data.

    Attributes:
        summary: what is missing, in a clause.
        rates: how much of it, from 0.
        predict: class probabilities, float32 (utterances, classes), of a set's utterances at one rate.
    """

    summary: str
    rates: tuple[float, ...]
    predict: Callable[[Network, Examples, float, torch.Generator], Tensor]


@torch.no_grad()
def run_protocol(name: str, network: Network, examples: Examples, *, seed: int, fold: int) -> Tensor:
    """Class probabilities, float32 (rates, utterances, classes), on the CPU."""
    protocol = PROTOCOLS[name]
    predicted = []
    for rate in protocol.rates:
        generator = stage_generator(seed, fold, f"protocol/{name}", f"{rate:.1f}")
        predicted.append(protocol.predict(network, examples, rate, generator).cpu())
    return torch.stack(predicted)


def draw_conditions(
    count: int, rate: float, generator: torch.Generator, letters: Sequence[str], present: Tensor | None = None
) -> Tensor:
    """Of each utterance a condition, as its place in `all_conditions(letters)`, int64 (count,).

    Every modality is missing with probability `rate`; an utterance that would lose all keeps one of those it has, each
    as likely.

    Args:
        present: which modalities each utterance has, bool (count, modalities); None if every one has all.
    """
    available = torch.rand(count, len(letters), generator=generator) >= rate
    kept = torch.randint(len(letters), (count,), generator=generator)
    if present is not None:
        available &= present
        weights = torch.rand(count, len(letters), generator=generator)
        kept = torch.where(present.all(1), kept, weights.masked_fill(~present, -1).argmax(1))
    lost = ~available.any(1)
    available[lost, kept[lost]] = True
    masks = torch.tensor([mask_of(condition, letters) for condition in all_conditions(letters)])
    return (available[:, None] == masks).all(2).int().argmax(1)


def drop_frames(lengths: Tensor, longest: int, rate: float, generator: torch.Generator) -> Tensor:
    """Which time steps are lost, bool (batch, longest): each with probability `rate`."""
    return torch.rand(len(lengths), longest, generator=generator) < rate


def drop_block(lengths: Tensor, longest: int, rate: float, generator: torch.Generator) -> Tensor:
    """Which time steps are lost, bool (batch, longest): of each utterance as many in a row as `rate` of its length is.

    That number is rounded; where the block lies is drawn uniformly.
    """
    count = (lengths * rate).round().long()
    first = (torch.rand(len(lengths), generator=generator, dtype=torch.float64) * (lengths - count + 1)).long()
    steps = torch.arange(longest)
    return (steps >= first[:, None]) & (steps < (first + count)[:, None])


def _with_modalities_missing(network: Network, examples: Examples, rate: float, generator: torch.Generator) -> Tensor:
    letters = tuple(examples.dimensions)
    conditions = draw_conditions(len(examples), rate, generator, letters, examples.present)
    probabilities = predict(network, examples, all_conditions(letters))
    return probabilities[conditions, torch.arange(len(examples))]


Drop = Callable[[Tensor, int, float, torch.Generator], Tensor]


def _with_frames_missing(drop: Drop) -> Callable[[Network, Examples, float, torch.Generator], Tensor]:
    """All modalities that utterances have are available, and the time steps that `drop` draws for each are zero."""

    def predict_dropped(network: Network, examples: Examples, rate: float, generator: torch.Generator) -> Tensor:
        full = full_condition(examples.dimensions)
        batches = (_without(batch, drop, rate, generator) for batch in examples.batches(EVALUATION_BATCH))
        return predict_batches(batches, lambda batch: network.logits(batch, (full,)))[0]

    return predict_dropped


def _without(batch: Batch, drop: Drop, rate: float, generator: torch.Generator) -> Batch:
    features = {}
    for modality, x in batch.features.items():
        lost = drop(batch.lengths[modality].cpu(), x.shape[1], rate, generator)
        features[modality] = x.masked_fill(lost[..., None].to(x.device), 0)
    return replace(batch, features=features)


PROTOCOLS = {
    "random-modality": Protocol(
        "each modality is missing with this probability, one at least is kept",
        tuple(step / 10 for step in range(8)),
        _with_modalities_missing,
    ),
    "random-frames": Protocol(
        "each time step of each modality is missing with this probability",
        tuple(step / 10 for step in range(10)),
        _with_frames_missing(drop_frames),
    ),
    "frame-block": Protocol(
        "a block of this share of the time steps of each modality is missing",
        tuple(step / 10 for step in range(10)),
        _with_frames_missing(drop_block),
    ),
}
