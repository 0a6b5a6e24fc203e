"""Dialogues: which utterances of a set belong together, and in which order they were said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where the utterances of a batch stand in their dialogues.

    Attributes:
        dialogue: of each utterance, numbered from 0, int64 (utterances,).
        place: its place there, from 0, int64 (utterances,).
        count: how many dialogues there are.
        longest: the length of the longest.
    """

    dialogue: Tensor
    place: Tensor
    count: int
    longest: int

    @classmethod
    def alone(cls, rows: Tensor) -> "Places":
        """Each of some utterances, (utterances,), as a dialogue by itself."""
        return cls(torch.arange(len(rows), device=rows.device), torch.zeros_like(rows), len(rows), 1)

    def to(self, device: torch.device) -> "Places":
        """The same on a device."""
        dialogue, place = (x.to(device, non_blocking=True) for x in (self.dialogue, self.place))
        return Places(dialogue, place, self.count, self.longest)

    def pad(self, x: Tensor) -> Tensor:
        """Zero-padded dialogues, (dialogues, places, ...), of (utterances, ...)."""
        return x.new_zeros(self.count, self.longest, *x.shape[1:]).index_put((self.dialogue, self.place), x)

    def unpad(self, x: Tensor) -> Tensor:
        """The inverse of `pad`."""
        return x[self.dialogue, self.place]


@dataclass(frozen=True)
class Dialogues:
    """The dialogues of some utterances. A dialogue's context is the utterances of the same set alone.

    Attributes:
        order: the utterances, one dialogue after the other, each in the order of its turns, int64 (utterances,).
        starts: where each dialogue begins in `order`, int64 (dialogues + 1,).
        number: which dialogue each utterance belongs to, int64 (utterances,).
    """

    order: Tensor
    starts: Tensor
    number: Tensor

    @classmethod
    def of(cls, names: Sequence[str | None], turns: Sequence[float | None] | None = None) -> "Dialogues":
        """The dialogues by the utterances' names for them; an utterance without one is a dialogue by itself.

        Args:
            names: of the dialogue of each utterance.
            turns: by which a dialogue is ordered; without, the order of the utterances.
        """
        keys = [name or index for index, name in enumerate(names)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        number = [numbers[key] for key in keys]
        places = range(len(keys)) if turns is None else [float("inf") if turn is None else turn for turn in turns]
        order = sorted(range(len(keys)), key=lambda index: (number[index], places[index], index))
        counts = torch.bincount(torch.tensor(number, dtype=torch.int64), minlength=len(numbers))
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        return cls(torch.tensor(order, dtype=torch.int64), starts, torch.tensor(number, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, dialogues: Tensor) -> Tensor:
        """The utterances of some dialogues, one dialogue after the other, int64 (utterances,)."""
        return torch.cat([self.order[self.starts[number] : self.starts[number + 1]] for number in dialogues.tolist()])

    def places(self, rows: Tensor) -> Places:
        """Where utterances stand in their dialogues, which follow one another as in `rows`, int64 (utterances,)."""
        _, dialogue, counts = torch.unique_consecutive(self.number[rows], return_inverse=True, return_counts=True)
        place = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[dialogue]
        return Places(dialogue, place, len(counts), int(counts.max()))

    def split(self, size: int) -> Iterator[Tensor]:
        """All utterances in groups of whole dialogues, each of at most `size` utterances or one longer dialogue."""
        group: list[int] = []
        filled = 0
        for number, length in enumerate(self.starts.diff().tolist()):
            if group and filled + length > size:
                yield self.rows(torch.tensor(group))
                group, filled = [], 0
            group.append(number)
            filled += length
        if group:
            yield self.rows(torch.tensor(group))
