"""`ifmmin plan`: what would run, what is already in the store, and how long the rest should take."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from ifmmin.orchestrator.commands import options

if TYPE_CHECKING:
    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.planning.plan import Plan

EXAMPLE = "ifmmin plan paper --corpus digits --set moment_order=3"


def command(
    source: options.Source,
    corpus: options.CorpusName = None,
    systems: options.Systems = None,
    folds: options.Folds = None,
    seeds: options.Seeds = None,
    hyperparameters: options.Hyperparameters = None,
    train_missing: options.TrainMissing = None,
    name: options.Name = None,
    workers: options.Workers = None,
    storage: options.StorageOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what an experiment would run, what is already in the store, and how long the rest should take."""
    from ifmmin.orchestrator.execution.cpus import usable_cpus
    from ifmmin.orchestrator.execution.pace import earlier_pace
    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.planning.plan import stages_to_run

    experiment = Experiment.of(
        options.configure(
            source,
            corpus=corpus,
            systems=systems,
            folds=folds,
            seeds=seeds,
            hyperparameters=hyperparameters,
            train_missing=train_missing,
            name=name,
            workers=workers,
            storage=storage,
        )
    )
    plan, store = experiment.plan, experiment.store
    completed = store.completed(plan.stages)
    to_run = stages_to_run(plan, completed)
    total = earlier_pace(plan, store).total(to_run)
    at_once = experiment.configuration.compute.workers or usable_cpus()
    seconds = None if total is None else total / at_once
    rows = _rows(plan, completed, {stage.key for stage in to_run})
    if as_json:
        chosen = {system: dict(values) for system, values in plan.hyperparameters.items()}
        content = {"stages": rows, "hyperparameters": chosen, "to_run": len(to_run), "seconds": seconds}
        typer.echo(json.dumps(content, indent=2))
    else:
        _show(experiment, rows, len(to_run), seconds)


def _show(experiment: "Experiment", rows: list[Mapping[str, str | int]], to_run: int, seconds: float | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from ifmmin.orchestrator.execution.pace import in_words

    console = Console()
    title = f"{experiment.configuration.name} on {experiment.corpus.name}: {len(experiment.plan.runs)} runs"
    table = Table(title=title, title_justify="left")
    for column in ("system", "stage"):
        table.add_column(column)
    for column in ("stages", "in the store", "to run", "shared with"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    if not to_run:
        estimate = "Nothing is left to run."
    elif seconds is None:
        estimate = f"{to_run} stages to run; no earlier stage in the store shows how long they take."
    else:
        estimate = f"{to_run} stages to run, about {in_words(seconds)}, judging by earlier stages."
    console.print(estimate, highlight=False)


def _rows(plan: "Plan", completed: set[str], to_run: set[str]) -> list[Mapping[str, str | int]]:
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
