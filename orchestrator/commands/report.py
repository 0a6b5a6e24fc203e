"""What `plan`, `report`, `track` and `systems` do."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields

import typer
from rich.console import Console
from rich.table import Table

from ifmmin.data.errors import nearest
from ifmmin.model.systems import SYSTEMS
from ifmmin.orchestrator.analysis.calibration import expected_calibration_error
from ifmmin.orchestrator.analysis.scores import Results, load_results
from ifmmin.orchestrator.execution.pace import earlier_pace, in_words
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import STORAGE, Configuration, ConfigurationError
from ifmmin.orchestrator.planning.plan import Plan, stages_to_run
from ifmmin.orchestrator.reporting import formats as table_formats
from ifmmin.orchestrator.reporting.report import Report
from ifmmin.orchestrator.search.figures import search_files
from ifmmin.orchestrator.search.trials import SearchRecord
from ifmmin.orchestrator.store import Store, StoreError
from ifmmin.orchestrator.tracking.experiments import Tracker
from ifmmin.orchestrator.tracking.searches import SearchTracker

FORMATS = ("table", "markdown", "latex", "csv", "json")


def show_report(
    name: str, storage: str | None, output: str, against: Sequence[str], protocols: Sequence[str] = ()
) -> None:
    """Print an experiment's table in one of `FORMATS`; as `table`, also write its report, into the store and to MLflow.

    Args:
        against: see `reporting.report.Report`.
        protocols: under which to evaluate the complete runs first, or `all`. What is in the store is shown anyway.

    Raises:
        UserError: the format, a protocol or the experiment is unknown, or none of its runs is complete.
    """
    if output not in FORMATS:
        raise ConfigurationError(f"There is no format '{output}'; {nearest(output, FORMATS)}")
    experiment = Experiment.recorded(name, storage or STORAGE)
    results = _results(experiment)
    if protocols:
        from ifmmin.orchestrator.commands.evaluate import evaluate_under  # needs Ray, which takes a second

        evaluate_under(protocols, experiment, results.runs)
    report = Report(experiment, results, against)
    if output == "table":
        console = Console()
        show_table(console, report)
        with console.status("writing the report"):
            experiment.store.write_report(name, report.files(), report.identity)
            console.print(f"Report: {experiment.store.report_location(name)}", highlight=False, soft_wrap=True)
            Tracker(experiment).finish(report)
    elif output == "json":
        frames = {"summary": report.summary, "times": results.times}
        if report.comparison:
            frames["comparison"] = report.comparison.frame
        if report.areas is not None:
            frames |= {"areas": report.areas, "gaps": report.subgroups[1]}
            frames |= {"calibration_error": expected_calibration_error(report.calibration).reset_index()}
        typer.echo(
            json.dumps({key: json.loads(frame.to_json(orient="records")) for key, frame in frames.items()}, indent=2)
        )
    elif output == "csv":
        typer.echo(table_formats.csv(report.summary), nl=False)
    else:
        write = {"markdown": table_formats.markdown, "latex": table_formats.latex}[output]
        typer.echo(write(report.summary, report.comparison))


def track(name: str, storage: str | None) -> None:
    """Write to MLflow what it lacks of an experiment or a search that is in the store.

    Raises:
        UserError: there is none of that name, nothing of it is complete, or MLflow cannot be reached.
    """
    console, store = Console(highlight=False), Store(storage or STORAGE)
    with console.status("writing to MLflow"):
        content = store.read_search(name)
        if content is not None:
            record = SearchRecord.from_json(content, storage or STORAGE)
            SearchTracker(Experiment.of(record.configuration), record).finish(record, search_files(record))
            written = f"{len(record.trials)} trials"
        else:
            experiment = Experiment.recorded(name, storage or STORAGE)
            report = Report(experiment, _results(experiment))
            Tracker(experiment).finish(report)
            written = f"{len(report.results.runs)} runs"
    console.print(f"MLflow has {written} of {name}: ifmmin ui {name}")


def _results(experiment: Experiment) -> Results:
    results = load_results(experiment.plan, experiment.store)
    if results is None:
        raise StoreError(f"No run of experiment '{experiment.configuration.name}' is complete yet; run it first.")
    return results


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
        hyperparameters = {system: dict(values) for system, values in plan.hyperparameters.items()}
        content = {"stages": rows, "hyperparameters": hyperparameters, "to_run": len(to_run), "seconds": seconds}
        typer.echo(json.dumps(content, indent=2))
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
    """Print every system with the hyperparameters of its stages, their defaults and meanings."""
    rows = [
        {"system": system.name, "stage": stage, "parameter": item.name, "default": item.default, **item.metadata}
        for system in SYSTEMS.values()
        for stage, definition in system.stages.items()
        for item in fields(definition.hyperparameters)
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


def show_table(console: Console, report: Report) -> None:
    """Print the table, how the systems differ, and how long each took."""
    experiment, results = report.experiment, report.results
    title = f"{experiment.configuration.name} on {experiment.corpus.name}"
    console.print(table_formats.rich_table(report.summary, report.comparison, title=title))
    if report.comparison:
        console.print()
        console.print(table_formats.rich_comparison(report.comparison))
        console.print()
    if report.areas is not None:
        console.print(table_formats.rich_areas(report.areas))
        console.print()
    times = [f"{system} {in_words(run)} ({in_words(total)})" for system, (run, total) in results.seconds.items()]
    console.print(f"Computing time on one worker, a run (all runs): {', '.join(times)}", highlight=False)
