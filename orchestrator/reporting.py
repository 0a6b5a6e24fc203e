"""What `plan`, `report` and `systems` print; nothing is written."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields

import typer
from rich.console import Console
from rich.table import Table

from data.errors import nearest
from model.systems import SYSTEMS
from orchestrator import table
from orchestrator.configuration import STORAGE, Configuration, ConfigurationError
from orchestrator.experiment import Experiment
from orchestrator.plan import Plan, stages_to_run
from orchestrator.results import completed_runs, load_predictions, score, summarise
from orchestrator.store import StoreError
from orchestrator.timing import earlier_pace, in_words

FORMATS = ("table", "markdown", "csv", "json")


def show_report(name: str, storage: str | None, output: str) -> None:
    """Print an experiment's table in one of `FORMATS`.

    Raises:
        UserError: the format or the experiment is unknown, or none of its runs is complete.
    """
    if output not in FORMATS:
        raise ConfigurationError(f"There is no format '{output}'; {nearest(output, FORMATS)}")
    experiment = Experiment.recorded(name, storage or STORAGE)
    if output == "table":
        show_table(Console(), experiment)
        return
    runs = completed_runs(experiment.plan, experiment.store)
    if not runs:
        raise StoreError(f"No run of experiment '{name}' is complete yet; run it first.")
    summary = summarise(score(load_predictions(runs, experiment.store)))
    if output == "json":
        typer.echo(summary.to_json(orient="records", indent=2))
    else:
        typer.echo({"markdown": table.markdown, "csv": table.csv}[output](summary))


def show_plan(configuration: Configuration, as_json: bool) -> None:
    """Print what would run: stages by system and name, how many are in the store, and how long the rest should take."""
    experiment = Experiment.of(configuration)
    plan, store = experiment.plan, experiment.store
    completed = store.completed(plan.stages)
    to_run = stages_to_run(plan, completed)
    total = earlier_pace(plan, store).total(to_run)
    seconds = None if total is None else total / (configuration.compute.workers or os.cpu_count() or 1)
    rows = _plan_rows(plan, completed, {stage.key for stage in to_run})
    if as_json:
        parameters = {system: dict(values) for system, values in plan.parameters.items()}
        typer.echo(
            json.dumps({"stages": rows, "parameters": parameters, "to_run": len(to_run), "seconds": seconds}, indent=2)
        )
        return
    console = Console()
    shown = Table(
        title=f"{configuration.name} on {experiment.corpus.name}: {len(plan.runs)} runs", title_justify="left"
    )
    for column in ("system", "stage"):
        shown.add_column(column)
    for column in ("stages", "in the store", "to run", "shared with"):
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    console.print(shown)
    if not to_run:
        estimate = "nothing is left to run"
    elif seconds is None:
        estimate = f"{len(to_run)} stages to run; no earlier stage tells how long that takes"
    else:
        estimate = f"{len(to_run)} stages to run, about {in_words(seconds)}, judging by earlier stages"
    console.print(estimate, highlight=False)


def _plan_rows(plan: Plan, completed: set[str], to_run: set[str]) -> list[Mapping[str, str | int]]:
    users: dict[str, list[str]] = {}
    for run in plan.runs:
        for key in run.stages.values():
            users.setdefault(key, []).append(run.system)
    rows: list[Mapping[str, str | int]] = []
    for system in plan.systems:
        for name in plan.runs_of(system)[0].stages:
            keys = {run.stages[name] for run in plan.runs_of(system)}
            others = sorted({other for key in keys for other in users[key]} - {system})
            rows.append(
                {
                    "system": system,
                    "stage": name,
                    "stages": len(keys),
                    "in the store": len(keys & completed),
                    "to run": len(keys & to_run),
                    "shared with": ", ".join(others),
                }
            )
    return rows


def show_systems(as_json: bool) -> None:
    """Print every system with the hyper-parameters of its stages, their defaults and meanings."""
    rows = [
        {"system": system.name, "stage": stage, "parameter": item.name, "default": item.default, **item.metadata}
        for system in SYSTEMS.values()
        for stage, recipe in system.recipes.items()
        for item in fields(recipe.parameters)
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    console = Console()
    for system in SYSTEMS.values():
        shown = Table(title=system.summary, title_justify="left")
        for column in ("stage", "--set", "default", "meaning"):
            shown.add_column(column)
        for row in rows:
            if row["system"] == system.name:
                shown.add_row(*(str(row[key]) for key in ("stage", "parameter", "default", "meaning")))
        console.print(shown)


def show_table(console: Console, experiment: Experiment) -> None:
    """Print the table of what is complete."""
    runs = completed_runs(experiment.plan, experiment.store)
    if not runs:
        console.print("No run is complete yet.")
        return
    summary = summarise(score(load_predictions(runs, experiment.store)))
    console.print(table.rich_table(summary, title=f"{experiment.configuration.name} on {experiment.corpus.name}"))
