"""The progress of a stage's training as plain values: its epochs, and checkpoints to resume it from. No PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True)
class Epoch:
    """The numbers of one epoch: a row of a stage's history.

    Attributes:
        epoch: 1-based.
        losses: means over the training utterances, `total` and every unweighted term.
        validation_wa, validation_ua: from 0 to 1, all selection conditions pooled.
        seconds: how long it took, validation included.
    """

    epoch: int
    learning_rate: float
    losses: Mapping[str, float]
    validation_wa: float
    validation_ua: float
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the remaining epochs depend on.

    Attributes:
        arrays: by name; see `capture`.
        history: of the epochs so far.
        device: kind of device; the state of a generator fits one kind only.
    """

    arrays: Mapping[str, NDArray[Any]]
    history: tuple[Epoch, ...]
    device: str


class Checkpoints(Protocol):
    """Where the checkpoints of one stage are kept."""

    def load(self) -> Checkpoint | None:
        """The last checkpoint, or None."""

    def due(self) -> bool:
        """Whether it is time for another checkpoint."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint by this one."""
