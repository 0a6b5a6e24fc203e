"""Batches of utterances as PyTorch tensors: gathered from the sequences of all, standardised and zero-padded."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ifmmin.data.conditions import MODALITIES, Condition, Modality
from ifmmin.data.corpus import Corpus, Features, Sequences, SetName, Statistics, training_statistics


@dataclass(frozen=True)
class Batch:
    """Some utterances of a set, or of those to predict.

    Attributes:
        features: for each modality (batch, time, features), zero beyond an utterance's length.
        lengths: for each modality the number of time steps, int64 (batch,).
        labels: int64 (batch,); empty for utterances to predict.
        rows: which utterances these are, int64 (batch,).
    """

    features: Mapping[Modality, Tensor]
    lengths: Mapping[Modality, Tensor]
    labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)


class Examples:
    """One set of one fold of a corpus, from which batches are drawn by row.

    On a CPU the features stay in the memory of the corpus, which many processes of a machine share; on a GPU each
    process copies them into its memory once. The features of a batch are gathered there, and standardised with the
    fold's training statistics, when the batch is drawn. The rows of a batch are known on the CPU, so that nothing waits
    for a GPU.
    """

    def __init__(self, corpus: Corpus, fold: int, set_name: SetName, device: str | torch.device = "cpu") -> None:
        indices = corpus.folds[fold][set_name]
        self.device = torch.device(device)
        self.indices = indices
        self.dimensions = corpus.dimensions
        self.classes = len(corpus.classes)
        self.labels = torch.from_numpy(corpus.labels[indices])
        values = _values_on(corpus, self.device)
        statistics = {m: training_statistics(corpus, fold, m) for m in corpus.standardised}
        self._sources = {m: _Source.of(corpus.sequences[m], indices, values[m], statistics.get(m)) for m in MODALITIES}

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, rows: Tensor) -> Batch:
        """The utterances with these row numbers, int64 (batch,), on the CPU."""
        return _batch({m: source.at(rows) for m, source in self._sources.items()}, self.labels[rows], rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """All utterances in order, `size` at a time."""
        return map(self.batch, torch.split(torch.arange(len(self)), size))


class Inputs:
    """Utterances to predict, on the CPU: features without labels or folds.

    Args:
        features: for each modality those of every utterance; a modality that an utterance lacks is zero throughout.
        dimensions, lengths: for each modality, how many features and time steps those zeros have.
        statistics: mean and deviation of the modalities to standardise.
    """

    def __init__(
        self,
        features: Features,
        dimensions: Mapping[Modality, int],
        lengths: Mapping[Modality, int],
        statistics: Mapping[Modality, Statistics],
    ) -> None:
        self._rows = torch.arange(len(features["a"]))
        self._sources = {}
        for modality, parts in features.items():
            mean = statistics[modality][0] if modality in statistics else np.zeros(dimensions[modality], np.float32)
            missing = np.tile(mean, (lengths[modality], 1))  # which standardising makes zero
            sequences = Sequences.of([missing if part is None else part for part in parts])
            values = torch.from_numpy(sequences.values)
            self._sources[modality] = _Source.of(sequences, self._rows.numpy(), values, statistics.get(modality))

    def batches(self, size: int) -> Iterator[Batch]:
        """All utterances in order, `size` at a time."""
        unknown = torch.zeros(0, dtype=torch.int64)
        for rows in torch.split(self._rows, size):
            yield _batch({m: source.at(rows) for m, source in self._sources.items()}, unknown, rows)


def stack_batches(sets: Sequence[Examples], rows: Sequence[Tensor]) -> Batch:
    """Batches of the same size from several sets of one corpus as one, whose tensors have a leading dimension of sets.

    Sequences are padded to the longest of all.
    """
    sources = {m: _stack([part._sources[m].at(r) for part, r in zip(sets, rows, strict=True)]) for m in MODALITIES}
    labels = torch.stack([part.labels[r] for part, r in zip(sets, rows, strict=True)])
    return _batch(sources, labels, torch.stack(list(rows)))


@dataclass(frozen=True)
class _Source:
    """One modality of some utterances.

    Attributes:
        values: all frames of the sequences, (frames, features).
        starts, lengths: of each utterance, int64 (..., utterances), on the CPU.
        mean, deviation: of the training set, (features,) or (sets, 1, 1, features); None where not standardised.
    """

    values: Tensor
    starts: Tensor
    lengths: Tensor
    mean: Tensor | None
    deviation: Tensor | None

    @classmethod
    def of(
        cls, sequences: Sequences, indices: NDArray[np.int64], values: Tensor, statistics: Statistics | None
    ) -> "_Source":
        """These utterances of some sequences, whose `values` are on the device to gather on."""
        starts, lengths = (torch.from_numpy(x[indices]) for x in (sequences.offsets, sequences.lengths))
        if statistics is None:
            return cls(values, starts, lengths, None, None)
        mean, deviation = (torch.from_numpy(x).to(values.device) for x in statistics)
        return cls(values, starts, lengths, mean, deviation)

    def at(self, rows: Tensor) -> "_Source":
        return replace(self, starts=self.starts[rows], lengths=self.lengths[rows])

    def gather(self) -> tuple[Tensor, Tensor]:
        """Features, (..., utterances, time, features), and lengths, on the device of the values."""
        shortest, longest = (int(x) for x in self.lengths.aminmax())
        steps = torch.arange(longest, device=self.values.device)
        starts, lengths = (x.to(self.values.device, non_blocking=True) for x in (self.starts, self.lengths))
        frames = (starts[..., None] + steps).clamp_(max=len(self.values) - 1)
        features = self.values.index_select(0, frames.flatten()).view(*frames.shape, -1)
        if self.mean is not None and self.deviation is not None:
            features.sub_(self.mean).div_(self.deviation)
        if shortest < longest:
            features.masked_fill_((steps >= lengths[..., None])[..., None], 0)
        return features, lengths


def _stack(sources: Sequence[_Source]) -> _Source:
    first = sources[0]
    starts, lengths = (torch.stack([getattr(source, name) for source in sources]) for name in ("starts", "lengths"))
    if first.mean is None:
        return _Source(first.values, starts, lengths, None, None)
    mean, deviation = (
        torch.stack([getattr(source, name) for source in sources])[:, None, None] for name in ("mean", "deviation")
    )
    return _Source(first.values, starts, lengths, mean, deviation)


def _batch(sources: Mapping[Modality, _Source], labels: Tensor, rows: Tensor) -> Batch:
    gathered = {modality: source.gather() for modality, source in sources.items()}
    device = next(iter(gathered.values()))[0].device
    return Batch(
        {modality: features for modality, (features, _) in gathered.items()},
        {modality: lengths for modality, (_, lengths) in gathered.items()},
        labels.to(device, non_blocking=True),
        rows.to(device, non_blocking=True),
    )


_on_device: dict[tuple[str, torch.device], Mapping[Modality, Tensor]] = {}
"""The one corpus that this process has copied into a device's memory, by fingerprint and device."""


def _values_on(corpus: Corpus, device: torch.device) -> Mapping[Modality, Tensor]:
    key = corpus.fingerprint, device
    if key in _on_device:
        return _on_device[key]
    with warnings.catch_warnings():
        # A mapped or shared corpus is read-only; nothing here writes to it, since every batch is a copy.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        values = {m: torch.from_numpy(sequences.values).to(device) for m, sequences in corpus.sequences.items()}
    if device.type != "cpu":
        _on_device.clear()
        _on_device[key] = values
    return values


def availability(conditions: list[Condition] | tuple[Condition, ...], device: str | torch.device = "cpu") -> Tensor:
    """Masks of conditions: bool (conditions, 3), True where a modality is available, in the order a, v, t."""
    return torch.tensor([c.mask for c in conditions], device=device)
