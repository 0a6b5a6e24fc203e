"""The progress of an experiment: the driver keeps a small file in the store up to date, and `status` reads it."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.execution.events import EpochEnded, Event, Failed, Finished, Retried, Started, Tick
from ifmmin.orchestrator.store import Store

EVERY_S = 5.0
LOST_AFTER_S = 60.0
"""After this long without an update the driver is presumed dead."""

NEVER = "1970-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Status:
    """The part of an experiment's progress that its results do not show.

    Attributes:
        heard: when the driver wrote this, ISO 8601 in UTC.
        ended: whether the driver has ended.
        running: epochs that have ended of each stage that runs, by key.
        failed: the reason of each stage that failed, by key.
    """

    heard: str
    ended: bool
    running: Mapping[str, int]
    failed: Mapping[str, str]

    @property
    def silent_s(self) -> float:
        """Seconds since the driver wrote this."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.heard)).total_seconds()

    @property
    def alive(self) -> bool:
        """Whether the driver is running and has recently written its status."""
        return not self.ended and self.silent_s < LOST_AFTER_S


class StatusKeeper:
    """A consumer of events that keeps an experiment's status in the store up to date."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._running: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._last = -EVERY_S

    def take(self, event: Event) -> None:
        """Write the status to the store, at most every few seconds."""
        if isinstance(event, Started):
            self._running[event.stage.key] = 0
        elif isinstance(event, EpochEnded):
            self._running[event.stage.key] = event.epoch.epoch
        elif isinstance(event, Finished | Retried | Failed):
            self._running.pop(event.stage.key, None)
        elif isinstance(event, Tick) and time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            self._write(ended=False)
        if isinstance(event, Failed):
            failure = event.failure
            self._failed[event.stage.key] = f"{failure.reason} (traceback: {failure.traceback})"

    def end(self) -> None:
        """Write that the driver has ended."""
        self._running = {}
        self._write(ended=True)

    def _write(self, *, ended: bool) -> None:
        status = Status(datetime.now(UTC).isoformat(timespec="seconds"), ended, self._running, self._failed)
        with suppress(UserError):  # a store that cannot be written is reported by the stages
            self._store.write_status(self._name, asdict(status))


def read_status(store: Store, name: str) -> Status:
    """The status that an experiment's driver has written last."""
    content = store.read_status(name)
    return Status(**content) if content else Status(NEVER, True, {}, {})
