"""Dialogues: which utterances of a set belong together, and in which order they were said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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
