"""`ifmmin search`: the trials of a hyperparameter search, its progress, and the best hyperparameters."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ifmmin.orchestrator.commands import options

if TYPE_CHECKING:
    from rich.console import Console

    from ifmmin.orchestrator.execution.events import Event
    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.planning.configuration import Configuration
    from ifmmin.orchestrator.search.driver import TrialChanged
    from ifmmin.orchestrator.search.trials import SearchRecord

EXAMPLE = "ifmmin search search --trials 20 --folds 1-10; then: ifmmin run paper --best-of search"


def command(
    source: Annotated[str, typer.Argument(metavar="search|FILE", help="A shipped configuration, or a YAML file.")],
    trials: Annotated[int | None, typer.Option(help="Number of trials; 20 by default.")] = None,
    corpus: options.CorpusName = None,
    systems: Annotated[str | None, typer.Option(help="The one system to search, such as mmin.")] = None,
    folds: options.Folds = None,
    seeds: options.Seeds = None,
    hyperparameters: options.Hyperparameters = None,
    train_missing: options.TrainMissing = None,
    name: options.Name = None,
    workers: options.Workers = None,
    storage: options.StorageOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the search of this name.")] = False,
) -> None:
    """Search hyperparameters by cross-validation, on validation sets alone."""
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
        trials=trials,
    )
    raise typer.Exit(search(configuration, resume=resume))


def search(configuration: "Configuration", *, resume: bool) -> int:
    """Run the trials that are missing; the exit status is 0 if none failed."""
    from rich.console import Console

    from ifmmin.orchestrator.execution.interruption import exit_status
    from ifmmin.orchestrator.search.space import limit_of
    from ifmmin.orchestrator.workflows import begin_search, run_search, write_search_report

    console = Console()
    experiment, record = begin_search(configuration, resume=resume)
    if limit := limit_of(configuration):
        console.print(limit, highlight=False, soft_wrap=True)
    display = SearchDisplay(console, experiment, record)
    try:
        with display:
            record, outcome = run_search(experiment, record, [display])
        _show(console, experiment, record, len(outcome.done))
        lost = write_search_report(experiment, record)
    except KeyboardInterrupt:
        ended = sum(trial.state != "running" for trial in display.record.trials)
        console.print(f"Interrupted after {ended} of {display.total} trials. Add --resume to continue.")
        return exit_status()
    if lost:
        console.print(f"[yellow]{lost}[/]", highlight=False, soft_wrap=True)
    console.print(f"In MLflow: ifmmin ui {configuration.name}", highlight=False)
    return 1 if any(trial.state == "failed" for trial in record.trials) else 0


class SearchDisplay:
    """A consumer that shows how a search goes: redrawn in place, or a line now and then elsewhere."""

    def __init__(
        self,
        console: "Console",
        experiment: "Experiment",
        record: "SearchRecord",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from ifmmin.orchestrator.commands.display import live_on
        from ifmmin.orchestrator.search.space import search_of
        from ifmmin.orchestrator.search.trials import CostCounter, TrialPlans

        self.record = record
        self.total = search_of(record.configuration).trials
        self._console, self._clock = console, clock
        self._started = self._last_line = clock()
        self._visited_before = sum(len(trial.means) for trial in record.trials)
        self._live = live_on(console)
        self._counter = CostCounter(TrialPlans(record.configuration, experiment.corpus))
        for number, trial in enumerate(record.trials):
            self._counter.add(number, trial)

    def __enter__(self) -> "SearchDisplay":
        if self._console.is_terminal or self._console.is_jupyter:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def take(self, event: "Event | TrialChanged") -> None:
        """Update the display by an event."""
        from ifmmin.orchestrator.execution.events import ClusterChanged, Retried, Tick, Waiting
        from ifmmin.orchestrator.search.driver import TrialChanged

        match event:
            case TrialChanged(number, trial):
                self.record = self.record.with_trial(number, trial)
                self._counter.add(number, trial)
            case ClusterChanged(description):
                self._console.print(f"On {description}.", highlight=False)
            case Waiting(what):
                self._console.print(f"Waiting for {what}.", highlight=False, soft_wrap=True)
            case Retried(stage, why):
                described = f"fold {stage.fold}, seed {stage.seed}, {stage.name}"
                self._console.print(f"[yellow]again[/] {described}: {why}", highlight=False)
            case Tick():
                self._refresh()

    def _refresh(self) -> None:
        from rich.text import Text

        from ifmmin.orchestrator.commands.display import LINE_EVERY_S

        if self._live.is_started:
            self._live.update(Text(self._summary()), refresh=True)
        elif self._clock() - self._last_line > LINE_EVERY_S:
            self._last_line = self._clock()
            self._console.print(self._summary(), highlight=False, soft_wrap=True)

    def _summary(self) -> str:
        from ifmmin.orchestrator.execution.pace import in_words
        from ifmmin.orchestrator.search.figures import describe_trial

        states = [trial.state for trial in self.record.trials]
        counts = [f"{states.count(state)} {state}" for state in ("completed", "stopped", "failed", "running")]
        parts = [", ".join(count for count in counts if not count.startswith("0 ")) or "starting"]
        if self.record.best:
            parts.append(f"best {describe_trial(self.record.best)}")
        costs = self._counter.costs
        parts.append(f"{sum(costs.run.values())} stages, {costs.shared} more shared, {costs.stopped} not needed")
        left = self._seconds_left()
        parts.append(f"{in_words(self._clock() - self._started)} so far")
        parts.append("estimating what is left" if left is None else f"about {in_words(left)} left")
        return f"{self.record.configuration.name}: {len(states)} of {self.total} trials: {'; '.join(parts)}"

    def _seconds_left(self) -> float | None:
        """The time left if further trials visit as many folds as those that ended, at the pace of this call."""
        trials = self.record.trials
        ended = [len(trial.means) for trial in trials if trial.state in ("completed", "stopped")]
        visited = sum(len(trial.means) for trial in trials) - self._visited_before
        if not ended or visited <= 0:
            return None
        usual = sum(ended) / len(ended)
        running = sum(max(0.0, usual - len(trial.means)) for trial in trials if trial.state == "running")
        to_come = usual * max(0, self.total - len(trials))
        return (running + to_come) * (self._clock() - self._started) / visited


def _show(console: "Console", experiment: "Experiment", record: "SearchRecord", computed: int) -> None:
    """Print the trials, the best first, what they cost, and what to do next."""
    from rich.table import Table

    from ifmmin.orchestrator.execution.pace import in_words
    from ifmmin.orchestrator.search.figures import describe_trial, format_value
    from ifmmin.orchestrator.search.space import search_of
    from ifmmin.orchestrator.search.trials import TrialPlans, computing_seconds, count_costs, fold_order

    folds = len(fold_order(experiment.plan))
    names = list(search_of(record.configuration).space)
    table = Table(title=f"{record.configuration.name} on {experiment.corpus.name}", title_justify="left")
    for column in ("trial", *names, "folds", "validation UA, %", "state"):
        table.add_column(column, justify="left" if column == "state" else "right")
    order = sorted(enumerate(record.trials), key=lambda item: (-len(item[1].means), -(item[1].means or (0,))[-1]))
    for number, trial in order:
        mean = f"{100 * trial.means[-1]:.1f}" if trial.means else ""
        values = [format_value(trial.hyperparameters[name]) for name in names]
        state = f"{trial.state}: {trial.reason}" if trial.reason else trial.state
        table.add_row(str(number + 1), *values, f"{len(trial.means)} of {folds}", mean, state)
    console.print(table)

    plans = TrialPlans(record.configuration, experiment.corpus)
    costs = count_costs(record, plans)
    stages = ", ".join(f"{count} {name}" for name, count in costs.run.items())
    console.print(
        f"Stages: {stages}; {computed} of them now. Sharing saved {costs.shared}, stopping {costs.stopped}, of the "
        f"{costs.alone} that independent trials would have run.",
        highlight=False,
    )
    spent, alone = computing_seconds(record, plans, experiment.store)
    if alone:
        console.print(
            f"Computing time on one worker: {in_words(spent)} instead of {in_words(alone)} ({spent / alone:.0%}).",
            highlight=False,
        )
    if record.best:
        best = f"Best: {describe_trial(record.best)}, mean over {folds} folds; no test set was read."
        console.print(best, highlight=False)
        words = ("run", "paper", "--corpus", record.configuration.corpus, "--best-of", record.configuration.name)
        following = options.shown_command(*words, storage=record.configuration.storage)
        console.print(f"Next: {following}", highlight=False)
