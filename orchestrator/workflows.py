"""The workflows behind the commands and the Python API, as functions that return values and print nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ifmmin.data.corpus import Corpus, Features, verify_corpus
from ifmmin.data.errors import UserError, nearest
from ifmmin.data.recordings.clip import Clip
from ifmmin.orchestrator.execution.events import Consumer, Event, Outcome
from ifmmin.orchestrator.execution.job import check_job
from ifmmin.orchestrator.execution.status import StatusKeeper
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.catalogue import catalogue
from ifmmin.orchestrator.planning.configuration import Configuration
from ifmmin.orchestrator.planning.plan import Plan, PlanError, Run, stages_to_run
from ifmmin.orchestrator.search.space import search_of
from ifmmin.orchestrator.search.trials import SearchError, SearchRecord, Trial, TrialPlans
from ifmmin.orchestrator.store import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from ifmmin.orchestrator.analysis.experiment import Analysis
    from ifmmin.orchestrator.analysis.results import Results
    from ifmmin.orchestrator.execution.extraction import ExtractionEvent
    from ifmmin.orchestrator.search.driver import TrialChanged
    from ifmmin.orchestrator.tracking.experiments import Tracker
    from ifmmin.orchestrator.tracking.searches import SearchTracker


_REPORTS_AT_MOST = 3
"""How often a report is written anew because another driver has completed runs meanwhile."""


class SearchConsumer(Protocol):
    """A consumer of the events of a search: of its trials, and of the stages they need."""

    def take(self, event: "Event | TrialChanged") -> None:
        """Handle an event."""


class ExtractionConsumer(Protocol):
    """A consumer of the events of an extraction."""

    def take(self, event: "ExtractionEvent") -> None:
        """Handle an event."""


def open_experiment(configuration: Configuration) -> Experiment:
    """The experiment of a configuration, its corpus read through, recorded in the store under its name.

    Raises:
        UserError: the corpus, a system, a fold or a hyperparameter is unknown or not valid, or the results would be
            deleted.
    """
    check_job(configuration.storage)
    experiment = Experiment.of(configuration)
    verify_corpus(experiment.corpus)
    experiment.record()
    return experiment


def run_stages(experiment: Experiment, consumers: Sequence[Consumer] = (), *, track: bool = True) -> Outcome:
    """Run the stages of an experiment that the store lacks, and write every run to MLflow when it is complete.

    Args:
        consumers: take every event, besides those that keep the status in the store and MLflow up to date.

    Raises:
        UserError: the cluster cannot be joined, or results cannot be written.
    """
    if not pending_stages(experiment):
        return Outcome()
    if track:
        check_tracking(experiment.configuration.name)
    from ifmmin.orchestrator.tracking.experiments import Tracker

    status, tracker = StatusKeeper(experiment.store, experiment.configuration.name), Tracker(experiment)
    try:
        with _killed_if_interrupted(tracker, track=track):
            return _consume(experiment.plan, experiment, [*consumers, status, *([tracker] if track else [])])
    finally:
        status.end()


def note_interruption(experiment: Experiment) -> None:
    """Mark what is not finished of an experiment as KILLED in MLflow, if MLflow can be written."""
    from ifmmin.orchestrator.tracking.experiments import Tracker

    with suppress(UserError):
        Tracker(experiment).interrupt()


def check_tracking(name: str) -> None:
    """Try whether MLflow can be written, before anything is computed.

    Raises:
        UserError: it cannot; the message says what to do.
    """
    from ifmmin.orchestrator.tracking.client import check

    check(name)


def pending_stages(experiment: Experiment) -> int:
    """How many stages of an experiment are not in the store and must be computed."""
    return len(stages_to_run(experiment.plan, experiment.store.completed(experiment.plan.stages)))


@dataclass(frozen=True)
class WrittenReport:
    """Where the page of a report is, and a sentence on what MLflow could not keep; empty if it has everything."""

    location: str
    lost: str = ""


def write_report(analysis: "Analysis", *, track: bool = True) -> WrittenReport:
    """Write the report to the store and to MLflow where it is missing or outdated.

    It covers all complete runs of the experiment, also those that other drivers computed meanwhile.

    Raises:
        UserError: the store or MLflow cannot be written.
    """
    from ifmmin.orchestrator.tracking.lock import alone

    store = analysis.experiment.store
    for _ in range(_REPORTS_AT_MOST):
        with alone(store, "report"):
            whole = _widen(analysis)
            written = _write_report(whole, track=track)
        if _runs_of(_widen(analysis)) == _runs_of(whole):
            break
    return written


def _write_report(analysis: "Analysis", *, track: bool) -> WrittenReport:
    from ifmmin.orchestrator.tracking.experiments import Tracker

    experiment, lost = analysis.experiment, ""
    name, store, tracker = experiment.configuration.name, experiment.store, Tracker(experiment)
    in_store = store.report_identity(name) == analysis.identity
    if not in_store or (track and not tracker.is_current(analysis)):
        with _killed_if_interrupted(tracker, track=track):
            from ifmmin.orchestrator.reporting.report import make_report, report_files

            report = make_report(analysis)
            if not in_store:
                store.write_report(name, report_files(report), analysis.identity)
            if track:
                lost = tracker.finish(report)
    return WrittenReport(store.report_location(name), lost)


def _widen(analysis: "Analysis") -> "Analysis":
    """The analysis of all complete runs that the experiment holds by now."""
    from ifmmin.orchestrator.analysis.experiment import analyse
    from ifmmin.orchestrator.analysis.results import completed_runs

    whole = analysis.experiment.whole()
    if {run.evaluation for run in completed_runs(whole.plan, whole.store)} == _runs_of(analysis):
        return analysis
    return analyse(whole, load_complete(whole), analysis.against)


def _runs_of(analysis: "Analysis") -> set[str]:
    return {run.evaluation for run in analysis.results.runs}


def load_complete(experiment: Experiment) -> "Results":
    """The results of the complete runs of an experiment.

    Raises:
        StoreError: no run is complete.
    """
    from ifmmin.orchestrator.analysis.results import load_results

    results = load_results(experiment.plan, experiment.store, experiment.corpus.letters)
    if results is None:
        raise _no_complete_run(experiment)
    return results


def _no_complete_run(experiment: Experiment) -> StoreError:
    """The error for an experiment without a complete run; a report that it has all the same is of earlier results."""
    name, store = experiment.configuration.name, experiment.store
    if store.report_identity(name) is None:
        return StoreError(f"No run of experiment '{name}' is complete yet; run it first.")
    return StoreError(
        f"The results of experiment '{name}' come from an earlier version of the code or of its corpus; run it again "
        f"to renew them, or read the earlier report, {store.report_location(name)}."
    )


def protocols_of(names: Sequence[str]) -> list[str]:
    """These protocols without duplicates; all of them for `all`."""
    return list(catalogue().protocols) if "all" in names else list(dict.fromkeys(names))


def evaluate_under(plan: Plan, experiment: Experiment, consumers: Sequence[Consumer] = ()) -> None:
    """Evaluate trained runs under protocols, as far as the store lacks the results.

    Args:
        plan: of `planning.plan.protocol_plan`.

    Raises:
        PlanError: an evaluation failed.
    """
    for failure in _consume(plan, experiment, consumers).failed.values():
        raise PlanError(f"An evaluation failed: {failure.reason} (traceback: {failure.traceback}).")


def predict(
    experiment: Experiment, runs: Iterable[Run], inputs: Path, *, every_condition: bool = False
) -> "pd.DataFrame":
    """The predictions of a system's complete runs for new utterances, see `model.ensemble.predict_utterances`.

    Args:
        inputs: a folder in the layout of `data.layouts.table`; a file or row that is missing is a missing modality. Its
            columns `dialogue` and `turn` are the context for systems that read dialogues.

    Raises:
        UserError: the inputs do not follow the layout, or do not fit the corpus.
    """
    from ifmmin.data.layouts.table import read_features, read_utterances
    from ifmmin.model.ensemble import predict_utterances
    from ifmmin.orchestrator.analysis.trained_runs import trained_runs

    table = read_utterances(inputs)
    names = table["utterance"].to_pylist()
    features = read_features(inputs, names, experiment.corpus.letters)
    columns = {name: table[name].to_pylist() for name in ("dialogue", "turn") if name in table.column_names}
    return predict_utterances(
        trained_runs(experiment, runs),
        names,
        features,
        dialogues=columns.get("dialogue"),
        turns=[None if turn is None else float(turn) for turn in columns["turn"]] if "turn" in columns else None,
        every_condition=every_condition,
    )


def predict_recordings(
    experiment: Experiment,
    runs: Iterable[Run],
    clips: Sequence[Clip],
    *,
    extractors: Mapping[str, str] | None = None,
    every_condition: bool = False,
    consumers: Sequence[ExtractionConsumer] = (),
) -> "pd.DataFrame":
    """The predictions of a system's complete runs for recordings, by the extractors that the corpus was made with.

    A clip that an extractor cannot use lacks the modality; an event says so.

    Args:
        extractors: by letter, those that are elsewhere on this machine than on that of the import.
        consumers: take every event of the extraction.

    Raises:
        UserError: the corpus was not made from recordings, an extractor is another one, or no clip has a modality.
    """
    from ifmmin.model.ensemble import predict_utterances
    from ifmmin.orchestrator.analysis.trained_runs import trained_runs
    from ifmmin.orchestrator.execution.extraction import Extracted, extract_features
    from ifmmin.orchestrator.execution.features import FeatureStore

    specs = extractors_of(experiment.corpus, extractors or {})
    store, compute = experiment.store, experiment.configuration.compute
    read = FeatureStore(store).read
    features: Features = {letter: [None] * len(clips) for letter in experiment.corpus.letters}
    with closing(extract_features(clips, specs, store, compute)) as events:
        for event in events:
            if isinstance(event, Extracted) and event.frames:
                features[event.letter][event.clip] = read(event.key)
            for consumer in consumers:
                consumer.take(event)
    names = [clip.utterance for clip in clips]
    return predict_utterances(trained_runs(experiment, runs), names, features, every_condition=every_condition)


def predict_timelines(
    experiment: Experiment,
    runs: Iterable[Run],
    parts: Mapping[str, Sequence[Clip]],
    *,
    extractors: Mapping[str, str] | None = None,
    consumers: Sequence[ExtractionConsumer] = (),
) -> "pd.DataFrame":
    """The predictions of a system's complete runs for the windows of recordings, see `data.recordings.clips.windows`.

    Columns: recording, start and end in seconds, and those of `predict_recordings`. A window without any modality has
    no condition and no prediction, and NaN for probabilities.

    Raises:
        UserError: as `predict_recordings`.
    """
    import pandas as pd

    clips = [clip for windows in parts.values() for clip in windows]
    frame = predict_recordings(experiment, runs, clips, extractors=extractors, consumers=consumers)
    rows = [(name, clip.utterance, clip.start, clip.end) for name, windows in parts.items() for clip in windows]
    windows = pd.DataFrame(rows, columns=["recording", "utterance", "start", "end"])
    timelines = windows.merge(frame, on="utterance", how="left", validate="one_to_one").drop(columns="utterance")
    return timelines.fillna({"condition": "", "prediction": ""})


def extractors_of(corpus: Corpus, elsewhere: Mapping[str, str]) -> dict[str, str]:
    """The extractors that a corpus was made with, by letter.

    Args:
        elsewhere: those that are to be taken from another place on this machine.

    Raises:
        UserError: the corpus was not made from recordings, or an extractor is not the one it was made with.
    """
    from ifmmin.data.recordings.extractors import make_extractor

    if not corpus.extractors:
        raise UserError(
            f"Corpus '{corpus.name}' was not made from recordings, so that no extractor is known; use --input with "
            "features as those of the corpus."
        )
    for letter in elsewhere:
        if letter not in corpus.extractors:
            raise UserError(f"--extract {letter}=…: {nearest(letter, corpus.extractors)}")
    specs = {letter: elsewhere.get(letter, how.extractor) for letter, how in corpus.extractors.items()}
    for letter, how in corpus.extractors.items():
        if make_extractor(specs[letter]).identity() != how.identity:
            raise UserError(
                f"Extractor {specs[letter]} is not the one that {letter} of corpus '{corpus.name}' was made with: its "
                f"version (then {how.version}), hyperparameters or weights differ; name that one by --extract "
                f"{letter}=…, or import the recordings again."
            )
    return specs


def begin_search(configuration: Configuration, *, resume: bool) -> tuple[Experiment, SearchRecord]:
    """The experiment of a search, and the record to continue; it is written to the store.

    Raises:
        UserError: a search of that name exists and is not to be resumed, or differs from this one; or the search is
            not possible as configured.
    """
    from ifmmin.orchestrator.search.space import check_space

    check_job(configuration.storage)
    experiment = Experiment.of(configuration)
    check_space(configuration, experiment.corpus)
    record = _record_to_continue(experiment, resume)
    verify_corpus(experiment.corpus)
    experiment.store.write_search(configuration.name, record.to_json())
    return experiment, record


def pending_trials(record: SearchRecord) -> int:
    """The number of trials of a search that are not complete, including those not started."""
    unfinished = sum(trial.state in ("running", "failed") for trial in record.trials)
    return unfinished + max(0, search_of(record.configuration).trials - len(record.trials))


def run_search(
    experiment: Experiment, record: SearchRecord, consumers: Sequence[SearchConsumer] = (), *, track: bool = True
) -> tuple[SearchRecord, Outcome]:
    """Run the missing trials of a search, and keep its record in the store and in MLflow up to date.

    Raises:
        UserError: the cluster cannot be joined, or results cannot be written.
    """
    outcome = Outcome()
    if not pending_trials(record):
        return record, outcome
    if track:
        check_tracking(experiment.configuration.name)
    from ifmmin.orchestrator.search import driver
    from ifmmin.orchestrator.tracking.searches import SearchTracker

    name, store = experiment.configuration.name, experiment.store
    tracker = SearchTracker(experiment, record)
    plans = TrialPlans(record.configuration, experiment.corpus)
    with _killed_if_interrupted(tracker, track=track), closing(driver.run_search(experiment, record, plans)) as events:
        for event in events:
            if isinstance(event, driver.TrialChanged):
                record = record.with_trial(event.number, event.trial)
                store.write_search(name, record.to_json())
                track = track and _record_trial(tracker, event.number, event.trial)
            else:
                outcome.take(event)
            for consumer in consumers:
                consumer.take(event)
    return record, outcome


def write_search_report(experiment: Experiment, record: SearchRecord, *, track: bool = True) -> str:
    """Write the trials, their figures and the best configuration to the store and to MLflow.

    Returns:
        A sentence on what MLflow could not keep; empty if it has everything.

    Raises:
        UserError: the store or MLflow cannot be written.
    """
    from ifmmin.orchestrator.search.figures import search_files
    from ifmmin.orchestrator.tracking.searches import SearchTracker

    tracker = SearchTracker(experiment, record)
    with _killed_if_interrupted(tracker, track=track):
        files = search_files(record)
        experiment.store.write_search_report(record.configuration.name, files)
        return tracker.finish(record, files) if track else ""


def load_search(name: str, storage: str) -> tuple[Experiment, SearchRecord] | None:
    """A search and its record, or None if there is none of that name."""
    from ifmmin.orchestrator.store import Store

    content = Store(storage).read_search(name)
    if content is None:
        return None
    record = SearchRecord.from_json(content, storage)
    return Experiment.of(record.configuration), record


def choose_runs(experiment: Experiment, system: str | None, fold: int | None, seed: int | None) -> list[Run]:
    """The complete runs of a system (by default the experiment's first) that have this fold and seed, if given.

    Raises:
        UserError: there is none.
    """
    from ifmmin.orchestrator.analysis.results import completed_runs

    runs = completed_runs(experiment.plan, experiment.store)
    systems = list(dict.fromkeys(run.system for run in runs))
    if not systems:
        raise _no_complete_run(experiment)
    chosen = system or systems[0]
    if chosen not in systems:
        raise UserError(f"--system {chosen}: {nearest(chosen, systems)}")
    matching = [run for run in runs if run.system == chosen and fold in (None, run.fold) and seed in (None, run.seed)]
    if not matching:
        raise UserError(
            f"No complete run of {chosen} has fold {'any' if fold is None else fold} and seed "
            f"{'any' if seed is None else seed}."
        )
    return matching


def _consume(plan: Plan, experiment: Experiment, consumers: Sequence[Consumer]) -> Outcome:
    from ifmmin.orchestrator.execution.scheduler import run_plan

    outcome, configuration = Outcome(), experiment.configuration
    with closing(run_plan(plan, experiment.corpus, experiment.store, configuration.compute)) as events:
        for event in events:
            for consumer in (outcome, *consumers):
                consumer.take(event)
    return outcome


@contextmanager
def _killed_if_interrupted(tracker: "Tracker | SearchTracker", *, track: bool) -> Iterator[None]:
    """What is not finished in MLflow is KILLED there if Ctrl-C or SIGTERM ends the context."""
    try:
        yield
    except KeyboardInterrupt:
        if track:
            with suppress(UserError):
                tracker.interrupt()
        raise


def _record_trial(tracker: "SearchTracker", number: int, trial: Trial) -> bool:
    """Whether MLflow could be written; if not, the search goes on, and what is missing is written at the end."""
    try:
        tracker.record_trial(number, trial)
    except UserError:
        return False
    return True


def _record_to_continue(experiment: Experiment, resume: bool) -> SearchRecord:
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
            f"Search '{configuration.name}' was over other folds, seeds, ranges, hyperparameters, data or code; "
            "resume it as it was, or start another with --name."
        )
    return replace(known, configuration=configuration)


def _question(record: SearchRecord) -> tuple[object, ...]:
    """What identifies a search; searches that agree in it may differ in trials and workers."""
    configuration = record.configuration
    question = configuration.model_dump(include={"systems", "folds", "seeds", "hyperparameters", "train_missing"})
    question["programs"] = {name: outside["description"] for name, outside in configuration.programs.items()}
    return record.fingerprint, question, search_of(configuration).space, configuration.compute.precision
