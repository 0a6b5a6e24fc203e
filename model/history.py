"""How far the training of a stage is, as plain values: its epochs, and checkpoints to resume it from. No PyTorch."""

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
    """All that the epochs to come depend on.

    Attributes:
        arrays: by name; see `capture`.
        history: of the epochs so far.
        device: kind of device; the state of a generator fits one kind alone.
    """

    arrays: Mapping[str, NDArray[Any]]
    history: tuple[Epoch, ...]
    device: str


class Checkpoints(Protocol):
    """Where the checkpoints of one stage are kept."""

    def load(self) -> Checkpoint | None:
        """The last one, if there is one."""

    def due(self) -> bool:
        """Whether it is time to keep another one."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep this one instead of the one before."""
