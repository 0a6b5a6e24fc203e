"""`ifmmin run`: an experiment, its table, its report."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ifmmin.orchestrator.commands import options

if TYPE_CHECKING:
    from rich.console import Console

    from ifmmin.orchestrator.execution.events import Outcome
    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.planning.configuration import Configuration

EXAMPLE = "ifmmin run paper --corpus digits --folds 1-3 --seeds 0 --set lambda2=50"


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
    best_of: Annotated[
        str | None,
        typer.Option(metavar="SEARCH", help="Evaluate the best hyperparameters of a search on the test sets."),
    ] = None,
) -> None:
    """Run the stages of an experiment that the store lacks, then print its table."""
    from ifmmin.orchestrator.search.trials import take_best

    configuration = options.configure(
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
    if best_of is not None:
        configuration = take_best(configuration, best_of)
    raise typer.Exit(run_experiment(configuration))


def run_experiment(configuration: "Configuration") -> int:
    """Run the missing stages, print the table, write the report; the exit status is 0 if every run is complete."""
    from rich.console import Console

    from ifmmin.orchestrator.commands.display import Display
    from ifmmin.orchestrator.execution.interruption import exit_status
    from ifmmin.orchestrator.workflows import note_interruption, open_experiment, pending_stages, run_stages

    console, started = Console(), time.monotonic()
    experiment = open_experiment(configuration)
    pending = pending_stages(experiment)
    try:
        with Display.of(console, experiment, experiment.plan, configuration.name) as display:
            outcome = run_stages(experiment, [display])
        complete = _show_results(console, experiment, outcome, pending, started)
    except KeyboardInterrupt:
        note_interruption(experiment)
        done = pending - pending_stages(experiment)
        console.print(f"Interrupted after {done} of {pending} stages. Run the same command to resume.", highlight=False)
        return exit_status()
    return 0 if complete and not outcome.failed else 1


def _show_results(
    console: "Console", experiment: "Experiment", outcome: "Outcome", pending: int, started: float
) -> bool:
    """Print the table and write the report; whether any run is complete."""
    from ifmmin.orchestrator.analysis.experiment import analyse
    from ifmmin.orchestrator.analysis.results import load_results
    from ifmmin.orchestrator.commands.tables import show_table
    from ifmmin.orchestrator.workflows import write_report

    results = load_results(experiment.plan, experiment.store, experiment.corpus.letters)
    if results is None:
        console.print("No run is complete yet.")
        _show_outcome(console, experiment, outcome, pending, started)
        return False
    analysis = analyse(experiment, results)
    show_table(console, analysis)
    _show_outcome(console, experiment, outcome, pending, started)
    with console.status("writing the report"):
        written = write_report(analysis)
    if written.lost:
        console.print(f"[yellow]{written.lost}[/]", highlight=False, soft_wrap=True)
    console.print(f"Report: {written.location}", highlight=False, soft_wrap=True)
    console.print(f"In MLflow: ifmmin ui {experiment.configuration.name}", highlight=False)
    return True


def _show_outcome(
    console: "Console", experiment: "Experiment", outcome: "Outcome", pending: int, started: float
) -> None:
    from ifmmin.orchestrator.execution.pace import in_words

    parts = [f"{len(outcome.done)} stages run", f"{len(experiment.plan.stages) - pending} from the store"]
    if outcome.failed:
        parts.append(f"{len(outcome.failed)} failed, {len(outcome.skipped)} skipped because of that")
    seconds = in_words(time.monotonic() - started)
    console.print(f"{', '.join(parts)}, in {seconds}. Results: {experiment.store.location}", highlight=False)
    for key, failure in outcome.failed.items():
        console.print(
            f"[red]failed[/] {experiment.plan.describe(key)}: {failure.reason} (traceback: {failure.traceback})",
            highlight=False,
            soft_wrap=True,
        )
