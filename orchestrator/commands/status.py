"""`ifmmin status`: the progress of an experiment."""

import json
from typing import TYPE_CHECKING

import typer

from ifmmin.orchestrator.commands import options

if TYPE_CHECKING:
    from ifmmin.orchestrator.planning.plan import Plan

EXAMPLE = "ifmmin status paper --storage s3://bucket/ifmmin"


def command(
    experiment: options.ExperimentName,
    storage: options.Storage = options.DEFAULT_STORAGE,
    as_json: options.AsJson = False,
) -> None:
    """Show the progress of an experiment, from any machine that can read its store, and why stages failed."""
    from rich.console import Console
    from rich.table import Table

    from ifmmin.orchestrator.execution.pace import in_words
    from ifmmin.orchestrator.execution.status import read_status
    from ifmmin.orchestrator.experiment import Experiment

    name, opened = experiment, Experiment.recorded(experiment, storage)
    plan, store = opened.plan, opened.store
    completed = store.completed(plan.stages)
    status = read_status(store, name)
    running = {key: epoch for key, epoch in status.running.items() if status.alive and key not in completed}
    failed = {key: reason for key, reason in status.failed.items() if key in plan.stages and key not in completed}
    rows = [_row(plan, system, completed, set(running), set(failed)) for system in plan.systems]
    if as_json:
        content = {"systems": rows, "running": running, "failed": failed, "alive": status.alive, "heard": status.heard}
        typer.echo(json.dumps(content, indent=2))
        return
    console = Console(highlight=False)
    table = Table(title=f"{name} on {opened.corpus.name}", title_justify="left")
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
        console.print(f"{done}. The driver last wrote its status {in_words(max(0.0, status.silent_s))} ago.")
    elif len(completed) == len(plan.stages):
        console.print(f"{done}. {options.shown_command('report', name, storage=storage)} shows the results.")
    elif status.ended:
        console.print(f"{done}, and nothing is running. Run the experiment again to resume.", soft_wrap=True)
    else:
        console.print(
            f"{done}. The driver has not written its status for {in_words(status.silent_s)}, so it has probably ended. "
            "Run the experiment again to resume.",
            soft_wrap=True,
        )


def _row(plan: "Plan", system: str, completed: set[str], running: set[str], failed: set[str]) -> dict[str, str | int]:
    keys = {key for run in plan.runs_of(system) for key in run.stages.values()}
    counts = {"done": len(keys & completed), "running": len(keys & running), "failed": len(keys & failed)}
    return {"system": system, "stages": len(keys), **counts, "left": len(keys) - sum(counts.values())}
