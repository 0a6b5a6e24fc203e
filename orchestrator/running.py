"""What `run` does: the missing stages on Ray, everything into MLflow, and the table."""

import signal
import time
from contextlib import suppress

from rich.console import Console

from data.corpus import verify_corpus
from data.errors import UserError
from model.checkpoint import Epoch
from orchestrator.configuration import Configuration
from orchestrator.experiment import Experiment
from orchestrator.plan import Plan, Run, Stage, stages_to_run
from orchestrator.progress import Display
from orchestrator.report import Report
from orchestrator.reporting import show_table
from orchestrator.results import load_results
from orchestrator.scheduler import Failure, Outcome, run_plan
from orchestrator.timing import earlier_pace, in_words
from orchestrator.tracking import Tracker


class _Watcher:
    """Shows on the display what happens to stages, and tells MLflow of every run that is complete."""

    def __init__(self, display: Display, tracker: Tracker, plan: Plan) -> None:
        self._display, self._tracker = display, tracker
        self._runs: dict[str, list[Run]] = {}
        for run in plan.runs:
            self._runs.setdefault(run.evaluation, []).append(run)
        self._tracking = True

    def began(self, cluster: str) -> None:
        self._display.began(cluster)

    def started(self, stage: Stage) -> None:
        self._display.started(stage)

    def retried(self, stage: Stage, why: str) -> None:
        self._display.retried(stage, why)

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
    experiment.record()
    plan, store = experiment.plan, experiment.store
    to_run = stages_to_run(plan, store.completed(plan.stages))
    tracker = Tracker(experiment)
    try:
        with Display(console, configuration.name, plan, to_run, earlier_pace(plan, store)) as display:
            outcome = run_plan(plan, experiment.corpus, store, configuration.compute, _Watcher(display, tracker, plan))
    except KeyboardInterrupt:
        with suppress(UserError):
            tracker.interrupt()
        done = len(store.completed(stage.key for stage in to_run))
        console.print(
            f"Interrupted after {done} of {len(to_run)} stages; the same command goes on from there.", highlight=False
        )
        return 128 + signal.SIGINT
    results = load_results(plan, store)
    if results is None:
        console.print("No run is complete yet.")
        _print_outcome(console, experiment, display, outcome, len(to_run), time.monotonic() - started)
        return 1
    report = Report(experiment, results)
    show_table(console, report)
    _print_outcome(console, experiment, display, outcome, len(to_run), time.monotonic() - started)
    with console.status("writing the report"):
        if store.report_identity(configuration.name) != report.identity:
            store.write_report(configuration.name, report.files(), report.identity)
        console.print(f"Report: {store.report_location(configuration.name)}", highlight=False, soft_wrap=True)
        tracker.finish(report)
    console.print(f"In MLflow: ifmmin ui {configuration.name}", highlight=False)
    return 1 if outcome.failed or outcome.skipped else 0


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
