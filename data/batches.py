"""Batches of utterances as PyTorch tensors: gathered from the corpus, standardised and zero-padded."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.conditions import MISSING_CONDITIONS, MODALITIES, Condition, Modality
from data.corpus import Corpus, SetName, training_statistics


@dataclass(frozen=True)
class Batch:
    """Some utterances of a set.

    Attributes:
        features: for each modality (batch, time, features), zero beyond an utterance's length.
        lengths: for each modality the number of time steps, int64 (batch,).
        labels: int64 (batch,).
        rows: which utterances of the set these are, int64 (batch,).
    """

    features: Mapping[Modality, Tensor]
    lengths: Mapping[Modality, Tensor]
    labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)


class Examples:
    """One set of one fold of a corpus, from which batches are drawn by row.

    The features stay where the corpus has them, so that many processes of a machine share one copy; what a batch needs
    is gathered and standardised with the fold's training statistics when it is asked for.
    """

    def __init__(self, corpus: Corpus, fold: int, set_name: SetName, device: str | torch.device = "cpu") -> None:
        indices = corpus.folds[fold][set_name]
        self.device = torch.device(device)
        self.indices = indices
        self.dimensions = corpus.dimensions
        self.classes = len(corpus.classes)
        self.labels = torch.from_numpy(corpus.labels[indices]).to(self.device)
        self._sources = {m: _Source.of(corpus, fold, m, indices, self.device) for m in MODALITIES}

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, rows: Tensor) -> Batch:
        """The utterances with these row numbers, int64 (batch,)."""
        features, lengths = {}, {}
        for modality, source in self._sources.items():
            features[modality], lengths[modality] = source.gather(rows)
        return Batch(features, lengths, self.labels[rows], rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """All utterances in order, `size` at a time."""
        for rows in torch.split(torch.arange(len(self), device=self.device), size):
            yield self.batch(rows)


@dataclass(frozen=True)
class _Source:
    values: Tensor
    starts: Tensor
    lengths: Tensor
    mean: Tensor | None
    deviation: Tensor | None

    @classmethod
    def of(
        cls, corpus: Corpus, fold: int, modality: Modality, indices: NDArray[np.int64], device: torch.device
    ) -> "_Source":
        sequences = corpus.sequences[modality]
        with warnings.catch_warnings():
            # A mapped or shared corpus is read-only; nothing here writes to it, each batch is a copy.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            values = torch.from_numpy(sequences.values).to(device)
        lengths = sequences.lengths[indices]
        mean = deviation = None
        if modality in corpus.standardised:
            mean, deviation = (torch.from_numpy(x).to(device) for x in training_statistics(corpus, fold, modality))
        return cls(
            values,
            torch.from_numpy(sequences.offsets[indices]).to(device),
            torch.from_numpy(lengths).to(device),
            mean,
            deviation,
        )

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        steps = torch.arange(int(lengths.max()), device=rows.device)
        frames = (self.starts[rows, None] + steps).clamp_(max=len(self.values) - 1)
        features = self.values.index_select(0, frames.reshape(-1)).view(*frames.shape, -1)
        if self.mean is not None and self.deviation is not None:
            features.sub_(self.mean).div_(self.deviation)
        features.masked_fill_((steps >= lengths[:, None])[..., None], 0)
        return features, lengths


def availability(conditions: list[Condition] | tuple[Condition, ...], device: str | torch.device = "cpu") -> Tensor:
    """Masks of conditions: bool (conditions, 3), True where a modality is available, in the order a, v, t."""
    return torch.tensor([c.mask for c in conditions], device=device)


def draw_availability(count: int, generator: torch.Generator) -> Tensor:
    """One of the six missing conditions for each of some utterances, uniformly: a mask, bool (count, 3)."""
    masks = availability(MISSING_CONDITIONS, generator.device)
    return masks[torch.randint(len(masks), (count,), generator=generator, device=generator.device)]
