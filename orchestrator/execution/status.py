"""How far an experiment is, for whoever sees its store: the driver keeps a small file up to date, `status` reads it."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Table

from ifmmin.data.errors import UserError
from ifmmin.model.checkpoint import Epoch
from ifmmin.orchestrator.execution.pace import in_words
from ifmmin.orchestrator.execution.scheduler import Failure
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import STORAGE
from ifmmin.orchestrator.planning.plan import Plan, Stage
from ifmmin.orchestrator.store import Store

EVERY_S = 5.0
LOST_AFTER_S = 60.0
"""Without a sign for so long, the driver is taken to be gone."""

NEVER = "1970-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Status:
    """What the store's results do not tell of an experiment.

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
        return not self.ended and self.silent_s < LOST_AFTER_S


class StatusKeeper:
    """Keeps an experiment's status in the store up to date, on the driver."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._running: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._last = -EVERY_S

    def started(self, stage: Stage) -> None:
        self._running[stage.key] = 0

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        self._running[stage.key] = epoch.epoch

    def finished(self, stage: Stage) -> None:
        self._running.pop(stage.key, None)

    def failed(self, stage: Stage, failure: Failure) -> None:
        self._running.pop(stage.key, None)
        self._failed[stage.key] = f"{failure.reason} (traceback: {failure.traceback})"

    def tick(self) -> None:
        """Write it, if that was some seconds ago."""
        if time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            self._write(ended=False)

    def end(self) -> None:
        """Write that the driver has ended."""
        self._running = {}
        self._write(ended=True)

    def _write(self, *, ended: bool) -> None:
        status = Status(datetime.now(UTC).isoformat(timespec="seconds"), ended, self._running, self._failed)
        with suppress(UserError):  # the results tell by themselves when they cannot be kept
            self._store.write_status(self._name, asdict(status))


def show_status(name: str, storage: str | None, as_json: bool) -> None:
    """Print how far an experiment is: stages by system and state, what runs, and why stages failed.

    Raises:
        UserError: the store holds no experiment of that name.
    """
    experiment = Experiment.recorded(name, storage or STORAGE)
    plan, store = experiment.plan, experiment.store
    completed = store.completed(plan.stages)
    content = store.read_status(name)
    status = Status(**content) if content else Status(NEVER, True, {}, {})
    running = {key: epoch for key, epoch in status.running.items() if status.alive and key not in completed}
    failed = {key: reason for key, reason in status.failed.items() if key in plan.stages and key not in completed}
    rows = [_row(plan, system, completed, set(running), set(failed)) for system in plan.systems]
    if as_json:
        told = {"systems": rows, "running": running, "failed": failed, "alive": status.alive, "heard": status.heard}
        typer.echo(json.dumps(told, indent=2))
        return
    console = Console(highlight=False)
    table = Table(title=f"{name} on {experiment.corpus.name}", title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "system" else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
    for key, epoch in running.items():
        progress = f", epoch {epoch} of {plan.stages[key].epochs}" if plan.stages[key].epochs else ""
        console.print(f"running: {plan.describe(key)}{progress}")
    for key, reason in failed.items():
        console.print(f"[red]failed[/]: {plan.describe(key)}: {reason}", soft_wrap=True)
    done = f"{len(completed)} of {len(plan.stages)} stages are done"
    if status.alive:
        console.print(f"{done}; the driver was heard of {in_words(max(0.0, status.silent_s))} ago.")
    elif len(completed) == len(plan.stages):
        console.print(f"{done}; ifmmin report {name} shows what came out.")
    elif status.ended:
        console.print(f"{done}, and nothing runs; the same ifmmin run goes on from there.", soft_wrap=True)
    else:
        console.print(
            f"{done}; the driver has not been heard of for {in_words(status.silent_s)} and is taken to be gone; "
            "the same ifmmin run goes on from there.",
            soft_wrap=True,
        )


def _row(plan: Plan, system: str, completed: set[str], running: set[str], failed: set[str]) -> dict[str, str | int]:
    keys = {key for run in plan.runs_of(system) for key in run.stages.values()}
    counts = {"done": len(keys & completed), "running": len(keys & running), "failed": len(keys & failed)}
    return {"system": system, "stages": len(keys), **counts, "left": len(keys) - sum(counts.values())}
