"""How the extraction of features is shown: redrawn in place, or a line now and then, and what failed at its end."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ifmmin.data.errors import listed
from ifmmin.data.recordings.clip import Clip
from ifmmin.orchestrator.commands.display import LINE_EVERY_S, live_on
from ifmmin.orchestrator.execution.events import ClusterChanged, Tick, Waiting
from ifmmin.orchestrator.execution.extraction import ClipFailed, Extracted, ExtractionEvent, ExtractionProgress
from ifmmin.orchestrator.execution.pace import in_words

SHOWN = 20
"""Failed clips that are listed with the reason."""


class ExtractionDisplay:
    """A consumer of the events of an extraction that shows how far it is, and the seconds left."""

    def __init__(self, console: Console, clips: Sequence[Clip]) -> None:
        self._console, self._clips = console, clips
        self._progress: ExtractionProgress | None = None
        self._reused = 0
        self._notes: Counter[str] = Counter()
        self.failures: list[ClipFailed] = []
        self._started = self._last_line = time.monotonic()
        self._live = live_on(console)

    def __enter__(self) -> "ExtractionDisplay":
        if self._console.is_terminal or self._console.is_jupyter:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if kind is None:
            self._conclude()

    def take(self, event: ExtractionEvent) -> None:
        """Update the display by an event."""
        match event:
            case ClusterChanged(description):
                self._console.print(f"On {description}.", highlight=False)
            case Waiting(what):
                self._console.print(f"Waiting for {what}.", highlight=False, soft_wrap=True)
            case Extracted():
                self._reused += event.seconds is None
                self._notes.update(event.notes)
            case ClipFailed():
                self.failures.append(event)
            case ExtractionProgress():
                self._progress = event
            case Tick():
                self._refresh()

    def _refresh(self) -> None:
        if self._live.is_started:
            bar = Table.grid()  # a bar alone does not end its line
            progress = self._progress
            total, completed = (progress.total, progress.done + progress.failed) if progress else (1, 0)
            bar.add_row(ProgressBar(total=max(1, total), completed=completed, width=60))
            self._live.update(Group(Text(self._summary()), bar), refresh=True)
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._console.print(self._summary(), highlight=False, soft_wrap=True)

    def _summary(self) -> str:
        if self._progress is None:
            return "Recordings are read."
        done, total = self._progress.done, self._progress.total
        parts = [f"{done:,} of {total:,} features of clips extracted"]
        if self._reused:
            parts.append(f"{self._reused:,} of them before")
        if self._progress.failed:
            parts.append(f"{self._progress.failed:,} failed")
        left = self._progress.seconds_left
        parts.append(f"{in_words(time.monotonic() - self._started)} so far")
        if done + self._progress.failed < total:
            parts.append("estimating what is left" if left is None else f"about {in_words(left)} left")
        return ", ".join(parts) + "."

    def _conclude(self) -> None:
        self._console.print(self._summary(), highlight=False, soft_wrap=True)
        for note, count in self._notes.items():
            self._console.print(f"Note ({count:,} clips): {note}.", highlight=False, markup=False, soft_wrap=True)
        for failure in self.failures[:SHOWN]:
            line = f"{self._clips[failure.clip].utterance} ({failure.letter}) {failure.reason}."
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        if rest := [self._clips[failure.clip].utterance for failure in self.failures[SHOWN:]]:
            self._console.print(f"{len(rest):,} more failed: {listed(rest, SHOWN)}.", highlight=False, markup=False)
