"""What `run` does: the missing stages on Ray, everything into MLflow, and the table."""

import signal
import time
from contextlib import suppress

from rich.console import Console

from ifmmin.data.corpus import verify_corpus
from ifmmin.data.errors import UserError
from ifmmin.model.checkpoint import Epoch
from ifmmin.orchestrator.analysis.scores import load_results
from ifmmin.orchestrator.commands.progress import Display
from ifmmin.orchestrator.commands.report import show_table
from ifmmin.orchestrator.execution.pace import earlier_pace, in_words
from ifmmin.orchestrator.execution.scheduler import Failure, Outcome, run_plan
from ifmmin.orchestrator.execution.status import StatusKeeper
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import Configuration
from ifmmin.orchestrator.planning.plan import Plan, Run, Stage, stages_to_run
from ifmmin.orchestrator.reporting.report import Report
from ifmmin.orchestrator.tracking.experiments import Tracker


class Watcher:
    """Shows on the display and keeps in the store what happens to stages, and tells MLflow of every complete run."""

    def __init__(self, display: Display, status: StatusKeeper, tracker: Tracker, plan: Plan) -> None:
        self._display, self._status, self._tracker = display, status, tracker
        self._runs: dict[str, list[Run]] = {}
        for run in plan.runs:
            self._runs.setdefault(run.evaluation, []).append(run)
        self._tracking = True

    def cluster(self, description: str) -> None:
        self._display.cluster(description)

    def started(self, stage: Stage) -> None:
        self._display.started(stage)
        self._status.started(stage)

    def retried(self, stage: Stage, why: str) -> None:
        self._display.retried(stage, why)

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        self._display.epoch(stage, epoch)
        self._status.epoch(stage, epoch)

    def finished(self, stage: Stage, seconds: float) -> None:
        self._display.finished(stage, seconds)
        self._status.finished(stage)
        for run in self._runs.get(stage.key, []) if self._tracking else []:
            try:
                self._tracker.record_run(run)
            except UserError:
                self._tracking = False  # computing goes on; what is missing is written, or the error told, at the end

    def failed(self, stage: Stage, failure: Failure) -> None:
        self._display.failed(stage, failure)
        self._status.failed(stage, failure)

    def skipped(self, stage: Stage) -> None:
        self._display.skipped(stage)

    def tick(self) -> None:
        self._display.tick()
        self._status.tick()


def run_experiment(configuration: Configuration) -> int:
    """Run what is missing, write it all to MLflow, print the table; the exit status is 0 if every run is complete."""
    console = Console()
    started = time.monotonic()
    experiment = Experiment.of(configuration)
    verify_corpus(experiment.corpus)
    experiment.record()
    plan, store = experiment.plan, experiment.store
    to_run = stages_to_run(plan, store.completed(plan.stages))
    tracker, status = Tracker(experiment), StatusKeeper(store, configuration.name)
    try:
        with Display(console, configuration.name, plan, to_run, earlier_pace(plan, store)) as display:
            watcher = Watcher(display, status, tracker, plan)
            outcome = run_plan(plan, experiment.corpus, store, configuration.compute, watcher)
    except KeyboardInterrupt:
        with suppress(UserError):
            tracker.interrupt()
        done = len(store.completed(stage.key for stage in to_run))
        console.print(
            f"Interrupted after {done} of {len(to_run)} stages; the same command goes on from there.", highlight=False
        )
        return 128 + signal.SIGINT
    finally:
        status.end()
    results = load_results(plan, store)
    if results is None:
        console.print("No run is complete yet.")
        _print_outcome(console, experiment, outcome, len(to_run), time.monotonic() - started)
        return 1
    report = Report(experiment, results)
    show_table(console, report)
    _print_outcome(console, experiment, outcome, len(to_run), time.monotonic() - started)
    with console.status("writing the report"):
        if store.report_identity(configuration.name) != report.identity:
            store.write_report(configuration.name, report.files(), report.identity)
        console.print(f"Report: {store.report_location(configuration.name)}", highlight=False, soft_wrap=True)
        tracker.finish(report)
    console.print(f"In MLflow: ifmmin ui {configuration.name}", highlight=False)
    return 1 if outcome.failed or outcome.skipped else 0


def _print_outcome(console: Console, experiment: Experiment, outcome: Outcome, asked: int, seconds: float) -> None:
    reused = len(experiment.plan.stages) - asked
    parts = [f"{len(outcome.done)} stages run", f"{reused} from the store"]
    if outcome.failed:
        parts.append(f"{len(outcome.failed)} failed, {len(outcome.skipped)} skipped because of that")
    console.print(f"{', '.join(parts)}, in {in_words(seconds)}. Results: {experiment.store.location}", highlight=False)
    for key, failure in outcome.failed.items():
        console.print(
            f"[red]failed[/] {experiment.plan.describe(key)}: {failure.reason} (traceback: {failure.traceback})",
            highlight=False,
            soft_wrap=True,
        )
