"""The events of an experiment's stages, as values.

The scheduler yields them; the display, the status and tracking consume them.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from ifmmin.model.history import Epoch
from ifmmin.orchestrator.planning.stage import Stage

FailureKind = Literal["error", "gpu-memory", "lost", "storage"]
"""The kind of a failure.

`error`: the stage raised; `gpu-memory`: too little memory on the GPU; `lost`: its worker or node died more often than
`compute.retries` allows; `storage`: its results cannot be written.
"""


@dataclass(frozen=True)
class StageFailure:
    """Why a stage failed.

    Attributes:
        reason: one line.
        traceback: as text; once the failure is recorded, the file that holds it.
    """

    reason: str
    traceback: str
    kind: FailureKind = "error"


@dataclass(frozen=True)
class ClusterChanged:
    """The resources of the cluster, in words; yielded at the start and whenever they change."""

    description: str


@dataclass(frozen=True)
class Waiting:
    """No stage can run before the cluster has this, in words; yielded once a minute."""

    what: str


@dataclass(frozen=True)
class Started:
    """A worker has begun a stage."""

    stage: Stage


@dataclass(frozen=True)
class EpochEnded:
    """A stage that trains has ended an epoch."""

    stage: Stage
    epoch: Epoch


@dataclass(frozen=True)
class Retried:
    """A stage is computed once more."""

    stage: Stage
    why: str


@dataclass(frozen=True)
class Finished:
    """The result of a stage is in the store; `seconds` is how long it took on its worker."""

    stage: Stage
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A stage has failed for good."""

    stage: Stage
    failure: StageFailure


@dataclass(frozen=True)
class Skipped:
    """A stage will not be computed because one that it depends on has failed."""

    stage: Stage


@dataclass(frozen=True)
class Tick:
    """Yielded a few times a second, so that a display can show the time."""


Event = ClusterChanged | Waiting | Started | EpochEnded | Retried | Finished | Failed | Skipped | Tick


class Consumer(Protocol):
    """A consumer of events, called on the driver in order."""

    def take(self, event: Event) -> None:
        """Handle an event."""


@dataclass
class Outcome:
    """A consumer that records the outcome of each stage, by key."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, StageFailure] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Note the outcome of a stage."""
        if isinstance(event, Finished):
            self.done.append(event.stage.key)
        elif isinstance(event, Failed):
            self.failed[event.stage.key] = event.failure
        elif isinstance(event, Skipped):
            self.skipped.append(event.stage.key)
