"""What `search` does: trials on Tune, their stages on Ray, the record in the store, everything into MLflow."""

import signal
import time
from contextlib import suppress
from dataclasses import replace

import ray
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ifmmin.data.corpus import verify_corpus
from ifmmin.data.errors import UserError
from ifmmin.orchestrator.commands.progress import LINE_EVERY_S
from ifmmin.orchestrator.execution.cluster import describe_cluster, on_this_node, ray_session, slots
from ifmmin.orchestrator.execution.pace import in_words
from ifmmin.orchestrator.execution.workers import Workers
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import Configuration
from ifmmin.orchestrator.search.desk import Desk
from ifmmin.orchestrator.search.figures import describe, search_files, show_search
from ifmmin.orchestrator.search.trials import (
    SearchError,
    SearchRecord,
    Trial,
    check_space,
    count_costs,
    first_settings,
    fold_order,
    search_of,
    with_trial,
)
from ifmmin.orchestrator.search.tuning import Task, prepare_environment, run_trials
from ifmmin.orchestrator.tracking.searches import SearchTracker


def run_search(configuration: Configuration, resume: bool) -> int:
    """Run the trials that are missing; the exit status is 0 if none failed."""
    console = Console()
    experiment = Experiment.of(configuration)
    space = check_space(configuration, experiment.corpus)
    record = _begin(experiment, resume)
    verify_corpus(experiment.corpus)
    experiment.store.write_search(configuration.name, record.to_json())
    keeper = _Keeper(console, experiment, record)
    computed = 0
    if any(trial.state in ("running", "failed") for trial in record.trials) or keeper.missing:
        search, corpus = search_of(configuration), experiment.corpus
        task = Task(
            search, space, first_settings(configuration, corpus), fold_order(experiment.plan), configuration.seeds[0]
        )
        prepare_environment()
        try:
            with ray_session(configuration.compute), keeper:
                console.print(f"On {describe_cluster()}.", highlight=False)
                workers = Workers.start(corpus, experiment.store, configuration.compute)
                desk = Desk.options(scheduling_strategy=on_this_node()).remote(  # type: ignore[attr-defined]
                    configuration, workers
                )
                run_trials(task, desk, record.trials, slots(configuration.compute), keeper)
                computed = len(ray.get(desk.computed.remote()))
        except KeyboardInterrupt:
            with suppress(UserError):
                keeper.tracker.interrupt()
            ended = sum(trial.state != "running" for trial in keeper.record.trials)
            console.print(f"Interrupted after {ended} of {search.trials} trials; --resume goes on from there.")
            return 128 + signal.SIGINT
    show_search(console, experiment, keeper.record, computed)
    files = search_files(keeper.record)
    experiment.store.write_report(configuration.name, files, identity="search")
    keeper.tracker.finish(keeper.record, files)
    console.print(f"In MLflow: ifmmin ui {configuration.name}", highlight=False)
    return 1 if any(trial.state == "failed" for trial in keeper.record.trials) else 0


def _begin(experiment: Experiment, resume: bool) -> SearchRecord:
    """The record to go on with.

    Raises:
        SearchError: there is a search of that name and it is not to be resumed, or it is another one.
    """
    configuration = experiment.configuration
    new = SearchRecord(configuration, experiment.corpus.fingerprint)
    content = experiment.store.read_search(configuration.name)
    if content is None:
        return new
    known = SearchRecord.from_json(content, configuration.storage)
    if not resume and known.trials:
        raise SearchError(
            f"There is a search '{configuration.name}' of {len(known.trials)} trials; "
            "continue it with --resume, or start another with --name."
        )
    if _question(known) != _question(new):
        raise SearchError(
            f"Search '{configuration.name}' was over other folds, seeds, ranges, hyperparameters or data; "
            "resume it as it was, or start another with --name."
        )
    return replace(known, configuration=configuration)


def _question(record: SearchRecord) -> tuple[object, ...]:
    """What a search asks; two searches that ask the same may differ in trials and workers."""
    configuration = record.configuration
    search = search_of(configuration)
    asked = configuration.model_dump(include={"systems", "folds", "seeds", "hyperparameters"})
    return record.fingerprint, asked, search.space, configuration.compute.precision


class _Keeper:
    """A `Listener` that keeps the record in the store and in MLflow up to date, and shows how the search goes."""

    def __init__(self, console: Console, experiment: Experiment, record: SearchRecord) -> None:
        self.record, self.tracker = record, SearchTracker(experiment, record)
        self._console, self._experiment = console, experiment
        self._tracking = True
        self._started = self._last_line = time.monotonic()
        self._visited_before = sum(len(trial.means) for trial in record.trials)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._costs = ""

    @property
    def missing(self) -> int:
        """Trials that were not begun."""
        return max(0, search_of(self.record.configuration).trials - len(self.record.trials))

    def __enter__(self) -> "_Keeper":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def trial_changed(self, number: int, trial: Trial) -> None:
        if number == len(self.record.trials):
            self.record = replace(self.record, trials=(*self.record.trials, trial))
        self.record = with_trial(self.record, number, **vars(trial))
        self._experiment.store.write_search(self.record.configuration.name, self.record.to_json())
        costs = count_costs(self.record, self._experiment.corpus)
        self._costs = f"{sum(costs.run.values())} stages, {costs.shared} more shared, {costs.stopped} not needed"
        if self._tracking:
            try:
                self.tracker.record_trial(number, trial)
            except UserError:
                self._tracking = False  # searching goes on; what is missing is written, or the error told, at the end

    def tick(self) -> None:
        if self._live.is_started:
            self._live.update(Text(self._summary()), refresh=True)
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._console.print(self._summary(), highlight=False, soft_wrap=True)

    def _summary(self) -> str:
        states = [trial.state for trial in self.record.trials]
        counts = [f"{states.count(state)} {state}" for state in ("completed", "stopped", "failed", "running")]
        parts = [", ".join(count for count in counts if not count.startswith("0 ")) or "starting"]
        if self.record.best:
            parts.append(f"best {describe(self.record.best)}")
        if self._costs:
            parts.append(self._costs)
        left = self._seconds_left()
        parts.append(f"{in_words(time.monotonic() - self._started)} so far")
        parts.append("estimating what is left" if left is None else f"about {in_words(left)} left")
        of = f"{len(states)} of {search_of(self.record.configuration).trials} trials"
        return f"{self.record.configuration.name}: {of}: {'; '.join(parts)}"

    def _seconds_left(self) -> float | None:
        """If the trials to come visit as many folds as those that ended, at the pace of this call."""
        ended = [len(trial.means) for trial in self.record.trials if trial.state in ("completed", "stopped")]
        visited = sum(len(trial.means) for trial in self.record.trials) - self._visited_before
        if not ended or visited <= 0:
            return None
        usual = sum(ended) / len(ended)
        under_way = sum(max(0.0, usual - len(t.means)) for t in self.record.trials if t.state == "running")
        return (under_way + self.missing * usual) * (time.monotonic() - self._started) / visited
