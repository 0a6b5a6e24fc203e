"""Modalities removed from training data, as the literature on robustness does it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def draw_removed(
    present: Tensor, letters: Sequence[str], rates: Mapping[str, float], generator: torch.Generator
) -> Tensor:
    """Which modalities to remove from utterances, bool (utterances, modalities).

    Each modality of an utterance is removed with its rate. An utterance that would lose everything keeps one of its
    modalities, drawn uniformly. One number is drawn for each utterance and modality, whatever the rates, so that with
    one rate for all a higher rate removes what a lower one removes, and more.

    Args:
        present: which modalities the utterances have, of the same shape.
        letters: of the modalities, in the order of the corpus.
        rates: by letter, from 0 to 1; modalities without one are kept.
    """
    rate = torch.tensor([rates.get(letter, 0.0) for letter in letters])
    drawn = torch.rand(present.shape, generator=generator)
    removed = present & (drawn < rate)
    # Below its rate, a draw over the rate is uniform in [0, 1): the largest picks a modality uniformly.
    kept = (drawn / rate).masked_fill(~present, -1).argmax(1)
    lost = (removed == present).all(1) & present.any(1)
    removed[lost, kept[lost]] = False
    return removed
