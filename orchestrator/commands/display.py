"""The live display of stages: what is done, running and left, and the time left."""

import io
import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ifmmin.model.history import Epoch
from ifmmin.orchestrator.execution.events import (
    ClusterChanged,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Retried,
    Skipped,
    Started,
    Tick,
    Waiting,
)
from ifmmin.orchestrator.execution.pace import Pace, earlier_pace, in_words
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import Plan, stages_to_run
from ifmmin.orchestrator.planning.stage import Stage

LINE_EVERY_S = 15.0
"""How often a line is printed where nothing can be redrawn."""


class NotebookOutput:
    """An output of a notebook's cell that is redrawn in place; rich's `Live` would need ipywidgets there."""

    def __init__(self) -> None:
        self.is_started = False
        self._handle: Any = None
        self._html = ""

    def start(self) -> None:
        """Show an empty output below the cell."""
        from IPython.display import HTML, display  # there is no notebook without it

        self._handle = display(HTML(""), display_id=True)  # type: ignore[no-untyped-call]
        self.is_started = True

    def update(self, renderable: RenderableType, *, refresh: bool) -> None:
        """Show this in the place of what was shown; as with `Live`, only when it is to be refreshed."""
        # Without colours, no bar would be visible before the first stage is done.
        canvas = Console(
            record=True,
            file=io.StringIO(),
            width=100,
            force_terminal=True,
            force_jupyter=False,
            color_system="truecolor",
        )
        canvas.print(renderable, highlight=False)
        html = canvas.export_html(inline_styles=True, code_format='<pre style="line-height: normal">{code}</pre>')
        if refresh and html != self._html:
            self._show(html)

    def stop(self) -> None:
        """Clear the output, as a terminal is cleared."""
        if self.is_started:
            self._show("")
        self.is_started = False

    def _show(self, html: str) -> None:
        from IPython.display import HTML

        self._html = html
        self._handle.update(HTML(html))  # type: ignore[no-untyped-call]


def live_on(console: Console) -> Live | NotebookOutput:
    """What can be redrawn on a console: started where it is a terminal or a notebook, never started elsewhere."""
    return NotebookOutput() if console.is_jupyter else Live(console=console, auto_refresh=False, transient=True)


class Display:
    """A consumer of events that shows stages: redrawn in place, or a line now and then where that is not possible."""

    def __init__(self, console: Console, title: str, plan: Plan, to_run: list[Stage], pace: Pace) -> None:
        self._console, self._title, self._pace = console, title, pace
        self._plan = plan
        self._total, self._reused = len(to_run), len(plan.stages) - len(to_run)
        self._left = {stage.key: stage for stage in to_run}
        self._running: dict[str, Epoch | None] = {}
        self._done = self._failed = self._skipped = self._most_at_once = 0
        self._started = self._last_line = time.monotonic()
        self._live = live_on(console)

    @classmethod
    def of(cls, console: Console, experiment: Experiment, plan: Plan, title: str) -> "Display":
        """The display of those stages of a plan that are not in the store of an experiment."""
        store = experiment.store
        to_run = stages_to_run(plan, store.completed(plan.stages))
        return cls(console, title, plan, to_run, earlier_pace(plan, store) if to_run else Pace())

    def __enter__(self) -> "Display":
        if self._console.is_terminal or self._console.is_jupyter:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def take(self, event: Event) -> None:
        """Update the display by an event."""
        match event:
            case ClusterChanged(description):
                self._console.print(f"On {description}.", highlight=False)
            case Waiting(what):
                self._console.print(f"Waiting for {what}.", highlight=False, soft_wrap=True)
            case Started(stage):
                self._start(stage)
            case EpochEnded(stage, epoch):
                self._end_epoch(stage, epoch)
            case Finished(stage, seconds):
                self._finish(stage, seconds)
            case Retried(stage, why):
                self._console.print(f"[yellow]again[/] {self._plan.describe(stage.key)}: {why}", highlight=False)
            case Failed(stage, failure):
                self._failed += 1
                self._forget(stage)
                described = self._plan.describe(stage.key)
                self._console.print(f"[red]failed[/] {described}: {failure.reason}", highlight=False)
            case Skipped(stage):
                self._skipped += 1
                self._forget(stage)
            case Tick():
                self._refresh()

    def _start(self, stage: Stage) -> None:
        if stage.key in self._left:
            self._running[stage.key] = None
            self._most_at_once = max(self._most_at_once, len(self._running))

    def _end_epoch(self, stage: Stage, epoch: Epoch) -> None:
        self._pace.add(stage, epoch.seconds, 1)
        if stage.key in self._left:
            self._running[stage.key] = epoch

    def _finish(self, stage: Stage, seconds: float) -> None:
        if stage.action == "evaluate":
            self._pace.add(stage, seconds)
        self._done += 1
        self._forget(stage)

    def _refresh(self) -> None:
        if self._live.is_started:
            self._live.update(self._render(), refresh=True)
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._console.print(self._summary(), highlight=False, soft_wrap=True)

    def _forget(self, stage: Stage) -> None:
        self._left.pop(stage.key, None)
        self._running.pop(stage.key, None)

    def _seconds_left(self) -> float | None:
        total = self._pace.total(self._left.values())
        if total is None:
            return None
        for key, epoch in self._running.items():
            stage = self._left[key]
            if epoch and stage.epochs:
                total -= (self._pace.expected(stage) or 0) * epoch.epoch / stage.epochs
        return total / max(1, self._most_at_once)

    def _summary(self) -> str:
        parts = [f"{self._done} of {self._total} stages done", f"{len(self._running)} running"]
        if self._reused:
            parts.insert(1, f"{self._reused} from the store")
        if self._failed:
            parts.append(f"{self._failed} failed, {self._skipped} skipped")
        left = self._seconds_left()
        parts.append(f"{in_words(time.monotonic() - self._started)} so far")
        parts.append("estimating what is left" if left is None else f"about {in_words(left)} left")
        return f"{self._title}: " + ", ".join(parts)

    def _render(self) -> RenderableType:
        rows = Table.grid(padding=(0, 2))
        for key, epoch in sorted(self._running.items(), key=lambda item: self._order(item[0])):
            stage = self._left[key]
            rows.add_row(
                Text(self._plan.system_of[key], style="bold"),
                f"fold {stage.fold}",
                f"seed {stage.seed}",
                stage.name,
                f"epoch {epoch.epoch if epoch else 0}/{stage.epochs}" if stage.epochs else "",
                f"validation UA {100 * epoch.validation_ua:.1f}%" if epoch else "",
            )
        finished = self._done + self._failed + self._skipped
        bar = Table.grid()  # a bar alone does not end its line
        bar.add_row(ProgressBar(total=max(1, self._total), completed=finished, width=60))
        return Group(Text(self._summary()), bar, rows)

    def _order(self, key: str) -> tuple[int, int]:
        return self._left[key].seed, self._left[key].fold
