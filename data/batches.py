"""Batches of utterances as PyTorch tensors: gathered from the sequences of all, standardised and zero-padded."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ifmmin.data.conditions import Condition, mask_of
from ifmmin.data.corpus import Corpus, Features, Sequences, SetName, Statistics, standardisation, training_lengths
from ifmmin.data.dialogues import Dialogues, Places

Unit: TypeAlias = Literal["utterance", "dialogue"]


@dataclass(frozen=True)
class Batch:
    """Some utterances of a set, or of those to predict.

    Attributes:
        features: for each modality, in the order of the corpus, (batch, time, features), zero beyond an utterance's
            length; zero throughout where it lacks the modality.
        lengths: for each modality the number of time steps, int64 (batch,); the training set's median where an
            utterance lacks the modality.
        labels: int64 (batch,); empty for utterances to predict.
        rows: which utterances these are, int64 (batch,).
        present: which modalities each utterance has, bool (batch, modalities); None if every utterance of the set has
            all of them.
        dialogues: where dialogues are the unit, where the utterances stand in them; those of a dialogue follow one
            another in the order of their turns.
    """

    features: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]
    labels: Tensor
    rows: Tensor
    present: Tensor | None = None
    dialogues: Places | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def letters(self) -> tuple[str, ...]:
        """Those of the modalities, in the order of the corpus."""
        return tuple(self.features)

    def has(self, letter: str) -> Tensor | None:
        """Which utterances have a modality, bool (batch,); None if every one of the set has all."""
        return None if self.present is None else self.present[:, self.letters.index(letter)]

    def input_of(self, letter: str) -> Tensor:
        """The features of a modality, (batch, time, features), zero where an utterance lacks it."""
        x, there = self.features[letter], self.has(letter)
        return x if there is None else x.masked_fill(~there[:, None, None], 0)


class Examples:
    """One set of one fold of a corpus, from which batches are drawn by row.

    On a CPU the features stay in the memory of the corpus, which many processes of a machine share; on a GPU each
    process copies them into its memory once. The features of a batch are gathered there, and standardised with the
    fold's training statistics, when the batch is drawn. The rows of a batch are known on the CPU, so that nothing waits
    for a GPU.

    Args:
        unit: what batches are made of, single utterances or whole dialogues.
        removed: which modalities its utterances are to lack, bool (utterances, modalities); by default none more than
            in the corpus. Features are still standardised with the statistics of the complete training set.
    """

    def __init__(
        self,
        corpus: Corpus,
        fold: int,
        set_name: SetName,
        device: str | torch.device = "cpu",
        unit: Unit = "utterance",
        removed: Tensor | None = None,
    ) -> None:
        indices = corpus.folds[fold][set_name]
        self.device = torch.device(device)
        self.indices = indices
        self.modalities = corpus.modalities
        self.dimensions = corpus.dimensions
        self.classes = len(corpus.classes)
        self.labels = torch.from_numpy(corpus.labels[indices])
        present = torch.from_numpy(corpus.present[indices])
        self.present = _gaps(present if removed is None else present & ~removed)
        self.dialogues = _dialogues(corpus, indices) if unit == "dialogue" else None
        values, statistics = _values_on(corpus, self.device), standardisation(corpus, fold)
        self._sources = {
            m: _Source.of(corpus.sequences[m], indices, values[m], statistics.get(m), absent)
            for m, absent in training_lengths(corpus, fold).items()
        }
        if removed is not None:
            without = zip(self._sources.items(), removed.unbind(1), strict=True)
            self._sources = {m: source.without(which) for (m, source), which in without}

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, rows: Tensor) -> Batch:
        """The utterances with these row numbers, int64 (batch,), on the CPU."""
        sources = {m: source.at(rows) for m, source in self._sources.items()}
        present = None if self.present is None else self.present[rows]
        return _batch(sources, self.labels[rows], rows, present, self.dialogues)

    def batches(self, size: int) -> Iterator[Batch]:
        """All utterances in order, `size` at a time; or all dialogues, of about so many utterances."""
        return map(self.batch, _split(len(self), size, self.dialogues))

    def shuffled(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The rows of batches of `size` utterances, or dialogues where these are the unit, in random order."""
        if self.dialogues is None:
            return torch.split(torch.randperm(len(self), generator=generator), size)
        shuffled = torch.split(torch.randperm(len(self.dialogues), generator=generator), size)
        return tuple(map(self.dialogues.rows, shuffled))

    def evaluated(self, conditions: Sequence[Condition]) -> Tensor:
        """Which utterances have all modalities of each condition, bool (conditions, utterances), on the CPU."""
        if self.present is None:
            return torch.ones(len(conditions), len(self), dtype=torch.bool)
        masks = availability(conditions, list(self.dimensions))
        return (self.present | ~masks[:, None]).all(2)


class Inputs:
    """Utterances to predict, on the CPU: features without labels or folds.

    Args:
        features: for each modality those of every utterance.
        dimensions: for each modality, in the order of the corpus, how many features it has.
        lengths: for each modality, how many time steps of zeros an utterance counts as that lacks it.
        statistics: mean and deviation of the modalities to standardise.
        dialogues: those of the utterances, where dialogues are the unit.
    """

    def __init__(
        self,
        features: Features,
        dimensions: Mapping[str, int],
        lengths: Mapping[str, int],
        statistics: Mapping[str, Statistics],
        dialogues: Dialogues | None = None,
    ) -> None:
        self._dialogues = dialogues
        self._rows = torch.arange(len(next(iter(features.values()))))
        self._sources = {}
        for letter, dimension in dimensions.items():
            nothing = np.zeros((0, dimension), np.float32)
            sequences = Sequences.of([nothing if part is None else part for part in features[letter]])
            values = torch.from_numpy(sequences.values)
            self._sources[letter] = _Source.of(
                sequences, self._rows.numpy(), values, statistics.get(letter), lengths[letter]
            )
        self._present = _gaps(torch.stack([source.lengths > 0 for source in self._sources.values()], 1))

    def batches(self, size: int) -> Iterator[Batch]:
        """All utterances in order, `size` at a time; or all dialogues, of about so many utterances."""
        unknown = torch.zeros(0, dtype=torch.int64)
        for rows in _split(len(self._rows), size, self._dialogues):
            sources = {m: source.at(rows) for m, source in self._sources.items()}
            present = None if self._present is None else self._present[rows]
            yield _batch(sources, unknown, rows, present, self._dialogues)


def stack_batches(sets: Sequence[Examples], rows: Sequence[Tensor]) -> Batch:
    """Batches of the same size from several sets of one corpus as one, whose tensors have a leading dimension of sets.

    Sequences are padded to the longest of all.
    """
    pairs = list(zip(sets, rows, strict=True))
    sources = {letter: _stack([part._sources[letter].at(r) for part, r in pairs]) for letter in sets[0].dimensions}
    labels = torch.stack([part.labels[r] for part, r in pairs])
    present = None
    if any(part.present is not None for part in sets):
        present = torch.stack([torch.stack([x.lengths[r] > 0 for x in part._sources.values()], 1) for part, r in pairs])
    return _batch(sources, labels, torch.stack(list(rows)), present)


def _split(utterances: int, size: int, dialogues: Dialogues | None) -> Iterable[Tensor]:
    """The rows of all utterances in groups."""
    return torch.split(torch.arange(utterances), size) if dialogues is None else dialogues.split(size)


def _dialogues(corpus: Corpus, indices: NDArray[np.int64]) -> Dialogues:
    """The dialogues of some utterances; without any in the corpus, each is one by itself."""
    columns = {name: corpus.column(name) for name in ("dialogue", "turn")}
    names, turns = (None if column is None else [column[index] for index in indices] for column in columns.values())
    return Dialogues.of(names or [None] * len(indices), turns)


def _gaps(present: Tensor) -> Tensor | None:
    """Which modalities utterances have, bool (utterances, modalities); None if all have all."""
    return None if present.all() else present


@dataclass(frozen=True)
class _Source:
    """One modality of some utterances.

    Attributes:
        values: all frames of the sequences, (frames, features).
        starts, lengths: of each utterance, int64 (..., utterances), on the CPU; the length is 0 where it lacks the
            modality.
        absent: how many time steps of zeros an utterance counts as that lacks it, int64 (..., 1).
        mean, deviation: of the training set, (features,) or (sets, 1, 1, features); None where not standardised.
    """

    values: Tensor
    starts: Tensor
    lengths: Tensor
    absent: Tensor
    mean: Tensor | None
    deviation: Tensor | None

    @classmethod
    def of(
        cls,
        sequences: Sequences,
        indices: NDArray[np.int64],
        values: Tensor,
        statistics: Statistics | None,
        absent: int,
    ) -> "_Source":
        """These utterances of some sequences, whose `values` are on the device to gather on."""
        starts, lengths = (torch.from_numpy(x[indices]) for x in (sequences.offsets, sequences.lengths))
        steps = torch.tensor([absent])
        if statistics is None:
            return cls(values, starts, lengths, steps, None, None)
        mean, deviation = (torch.from_numpy(x).to(values.device) for x in statistics)
        return cls(values, starts, lengths, steps, mean, deviation)

    def without(self, removed: Tensor) -> "_Source":
        """The same utterances, of which those lack the modality from which it is removed, bool (utterances,)."""
        return replace(self, lengths=self.lengths.masked_fill(removed, 0))

    def at(self, rows: Tensor) -> "_Source":
        return replace(self, starts=self.starts[rows], lengths=self.lengths[rows])

    def gather(self) -> tuple[Tensor, Tensor]:
        """Features, (..., utterances, time, features), and lengths, on the device of the values.

        Of an utterance that lacks the modality the features are zeros; nothing is read.
        """
        shortest = int(self.lengths.amin())
        counted = self.lengths if shortest else torch.where(self.lengths > 0, self.lengths, self.absent)
        longest = int(counted.amax())
        steps = torch.arange(longest, device=self.values.device)
        starts, lengths = (x.to(self.values.device, non_blocking=True) for x in (self.starts, self.lengths))
        shown = lengths if shortest else counted.to(self.values.device, non_blocking=True)
        frames = (starts[..., None] + steps).clamp_(max=len(self.values) - 1)
        if not len(self.values):
            return self.values.new_zeros(*frames.shape, self.values.shape[1]), shown
        features = self.values.index_select(0, frames.flatten()).view(*frames.shape, -1)
        if self.mean is not None and self.deviation is not None:
            features.sub_(self.mean).div_(self.deviation)
        if shortest < longest:
            features.masked_fill_((steps >= lengths[..., None])[..., None], 0)
        return features, shown


def _stack(sources: Sequence[_Source]) -> _Source:
    first = sources[0]
    starts, lengths, absent = (
        torch.stack([getattr(source, name) for source in sources]) for name in ("starts", "lengths", "absent")
    )
    if first.mean is None:
        return _Source(first.values, starts, lengths, absent, None, None)
    mean, deviation = (
        torch.stack([getattr(source, name) for source in sources])[:, None, None] for name in ("mean", "deviation")
    )
    return _Source(first.values, starts, lengths, absent, mean, deviation)


def _batch(
    sources: Mapping[str, _Source],
    labels: Tensor,
    rows: Tensor,
    present: Tensor | None,
    dialogues: Dialogues | None = None,
) -> Batch:
    gathered = {modality: source.gather() for modality, source in sources.items()}
    device = next(iter(gathered.values()))[0].device
    return Batch(
        {modality: features for modality, (features, _) in gathered.items()},
        {modality: lengths for modality, (_, lengths) in gathered.items()},
        labels.to(device, non_blocking=True),
        rows.to(device, non_blocking=True),
        None if present is None else present.to(device, non_blocking=True),
        None if dialogues is None else dialogues.places(rows).to(device),
    )


_on_device: dict[tuple[str, torch.device], Mapping[str, Tensor]] = {}
"""The one corpus that this process has copied into a device's memory, by fingerprint and device."""


def _values_on(corpus: Corpus, device: torch.device) -> Mapping[str, Tensor]:
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


def availability(conditions: Sequence[Condition], letters: Sequence[str], device: str | torch.device = "cpu") -> Tensor:
    """Masks of conditions: bool (conditions, modalities), True where a modality is available.

    Args:
        letters: of all modalities, in the order of the corpus.
    """
    return torch.tensor([mask_of(condition, letters) for condition in conditions], device=device)
