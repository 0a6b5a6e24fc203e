"""From a configuration to a table: what `run`, `plan` and `report` do, put together from the parts."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.table import Table

from data.catalogue import find_corpus
from data.corpus import Corpus, verify_corpus
from data.errors import UserError, nearest
from model.training import Epoch
from orchestrator import table
from orchestrator.configuration import STORAGE, Configuration, ConfigurationError
from orchestrator.plan import Plan, Run, Stage, make_plan, stages_to_run
from orchestrator.progress import Display
from orchestrator.results import completed_runs, load_predictions, score, summarise
from orchestrator.scheduler import Failure, Outcome, run_plan
from orchestrator.store import Store, StoreError
from orchestrator.timing import earlier_pace, in_words
from orchestrator.tracking import Tracker

FORMATS = ("table", "markdown", "csv", "json")


@dataclass(frozen=True)
class Experiment:
    """A configuration with the corpus it names, the plan they make, and the store its results are in."""

    configuration: Configuration
    corpus: Corpus
    plan: Plan
    store: Store

    @classmethod
    def of(cls, configuration: Configuration) -> "Experiment":
        """Open the corpus and make the plan; nothing is written.

        Raises:
            UserError: of any kind; the corpus, a system, a fold or a hyper-parameter is not as it must be.
        """
        store = Store(configuration.storage)
        corpus = find_corpus(configuration.corpus, store.folder)
        return cls(configuration, corpus, make_plan(configuration, corpus), store)

    @classmethod
    def recorded(cls, name: str, storage: str) -> "Experiment":
        """The experiment of that name as it last ran.

        Raises:
            UserError: there is none, or its corpus is no longer the same.
        """
        description = Store(storage).read_experiment(name)
        experiment = cls.of(Configuration.model_validate({**description["configuration"], "storage": storage}))
        if experiment.corpus.fingerprint != description["fingerprint"]:
            raise StoreError(
                f"Corpus '{experiment.corpus.name}' is not the one that experiment '{name}' ran on; run it again."
            )
        return experiment

    def record(self) -> None:
        """Keep what was asked for, so that `report` finds it."""
        self.store.write_experiment(
            self.configuration.name,
            {
                "configuration": self.configuration.model_dump(mode="json", exclude={"storage"}),
                "fingerprint": self.corpus.fingerprint,
            },
        )


class _Watcher:
    """Shows on the display what happens to stages, and tells MLflow of every run that is complete."""

    def __init__(self, display: Display, tracker: Tracker, plan: Plan) -> None:
        self._display, self._tracker = display, tracker
        self._runs: dict[str, list[Run]] = {}
        for run in plan.runs:
            self._runs.setdefault(run.evaluation, []).append(run)
        self._tracking = True

    def started(self, stage: Stage) -> None:
        self._display.started(stage)

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        self._display.epoch(stage, epoch)

    def finished(self, stage: Stage, seconds: float) -> None:
        self._display.finished(stage, seconds)
        for run in self._runs.get(stage.key, []) if self._tracking else []:
            try:
                self._tracker.record_run(run)
            except UserError:
                self._tracking = False  # computing goes on; what is missing is written, or the error told, at the end

    def failed(self, stage: Stage, failure: Failure) -> None:
        self._display.failed(stage, failure)

    def skipped(self, stage: Stage) -> None:
        self._display.skipped(stage)

    def tick(self) -> None:
        self._display.tick()


def run_experiment(configuration: Configuration) -> int:
    """Run what is missing, write it all to MLflow, print the table; the exit status is 0 if every run is complete."""
    console = Console()
    started = time.monotonic()
    experiment = Experiment.of(configuration)
    verify_corpus(experiment.corpus)
    experiment.store.check_writable()
    experiment.record()
    plan, store = experiment.plan, experiment.store
    to_run = stages_to_run(plan, store.completed(plan.stages))
    tracker = Tracker(configuration, plan, experiment.corpus, store)
    try:
        with Display(console, configuration.name, plan, to_run, earlier_pace(plan, store)) as display:
            outcome = run_plan(plan, experiment.corpus, store, configuration.compute, _Watcher(display, tracker, plan))
    except KeyboardInterrupt:
        done = len(store.completed(stage.key for stage in to_run))
        console.print(
            f"Interrupted after {done} of {len(to_run)} stages; the same command goes on from there.", highlight=False
        )
        return 128 + signal.SIGINT
    show_table(console, experiment)
    _print_outcome(console, experiment, display, outcome, len(to_run), time.monotonic() - started)
    tracker.finish()
    console.print(f"In MLflow: ifmmin ui {configuration.name}", highlight=False)
    return 1 if outcome.failed or outcome.skipped else 0


def show_table(console: Console, experiment: Experiment) -> None:
    """Print the table of what is complete."""
    runs = completed_runs(experiment.plan, experiment.store)
    if not runs:
        console.print("No run is complete yet.")
        return
    summary = summarise(score(load_predictions(runs, experiment.store)))
    console.print(table.rich_table(summary, title=f"{experiment.configuration.name} on {experiment.corpus.name}"))


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


def _print_outcome(
    console: Console, experiment: Experiment, display: Display, outcome: Outcome, asked: int, seconds: float
) -> None:
    reused = len(experiment.plan.stages) - asked
    parts = [f"{len(outcome.done)} stages run", f"{reused} from the store"]
    if outcome.failed:
        parts.append(f"{len(outcome.failed)} failed, {len(outcome.skipped)} skipped because of that")
    console.print(f"{', '.join(parts)}, in {in_words(seconds)}. Results: {experiment.store.location}", highlight=False)
    for key, failure in outcome.failed.items():
        stage = experiment.plan.stages[key]
        console.print(
            f"[red]failed[/] {display.describe(stage)}: {failure.reason} (traceback: {failure.traceback})",
            highlight=False,
            soft_wrap=True,
        )
