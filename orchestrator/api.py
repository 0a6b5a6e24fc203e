"""The values that the public Python API returns, and the verbs that make them; see `ifmmin/__init__.py`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ifmmin.data.errors import UserError
from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.orchestrator import workflows
from ifmmin.orchestrator.analysis.experiment import Analysis, analyse
from ifmmin.orchestrator.analysis.scores import METRICS, columns_in
from ifmmin.orchestrator.execution.events import Outcome, StageFailure
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import Configuration, load_configuration
from ifmmin.orchestrator.planning.plan import make_plan
from ifmmin.orchestrator.search.trials import SearchRecord

if TYPE_CHECKING:
    from ifmmin.data.corpus import Corpus
    from ifmmin.orchestrator.commands.display import Display
    from ifmmin.orchestrator.commands.search import SearchDisplay
    from ifmmin.orchestrator.reporting.drawing import Drawing


@dataclass(frozen=True)
class Result:
    """What the complete runs of an experiment show, as pandas frames and figures.

    Attributes:
        failed: the reason of each stage that failed in this call.
        report: where the page of the report is, if it was written.
    """

    analysis: Analysis
    failed: Mapping[str, StageFailure]
    report: str | None

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return self.analysis.experiment.configuration.name

    @property
    def corpus(self) -> "Corpus":
        """The corpus of the experiment."""
        return self.analysis.experiment.corpus

    @property
    def table(self) -> pd.DataFrame:
        """WA and UA in %, means over the runs: a row for each metric and system, a column for each condition."""
        means = {
            metric.upper(): 100 * self.summary.pivot_table(metric, "system", "condition", sort=False)
            for metric in METRICS
        }
        table = pd.concat(means, names=["metric"])
        return table.reindex(columns=list(columns_in(self.summary)))

    @property
    def headline(self) -> tuple[str, ...]:
        """Which system is best with one modality, with two, ..., a sentence each, see `analysis.headline`."""
        return self.analysis.headline.sentences

    @property
    def summary(self) -> pd.DataFrame:
        """Means and deviations over the runs from 0 to 1, see `analysis.scores.summarise`."""
        return self.analysis.summary

    @property
    def scores(self) -> pd.DataFrame:
        """WA and UA of every run in each condition, see `analysis.scores.score`."""
        return self.analysis.results.scores

    @property
    def predictions(self) -> pd.DataFrame:
        """Test predictions of every run in each condition, see `analysis.results.load_predictions`."""
        return self.analysis.results.predictions

    @property
    def history(self) -> pd.DataFrame:
        """Losses and validation scores of every epoch, see `analysis.results.load_history`."""
        return self.analysis.results.history

    @property
    def comparison(self) -> pd.DataFrame | None:
        """Every other system against one of them, see `analysis.statistics.compare`; None for a single system."""
        return self.analysis.comparison.frame if self.analysis.comparison else None

    @cached_property
    def figures(self) -> "dict[str, Drawing]":
        """The figures of the report by name, each with its caption; a notebook shows them."""
        from ifmmin.orchestrator.reporting.report import make_report

        report = make_report(self.analysis)
        drawings = {drawing.name: drawing for drawing in report.drawings}
        for system, of_system in report.of_systems.items():
            prefix = "" if len(report.of_systems) == 1 else f"{system}/"
            drawings |= {f"{prefix}{drawing.name}": drawing for drawing in of_system}
        return drawings

    def _repr_html_(self) -> str:
        return str(self.table.style.format("{:.1f}").set_caption(f"{self.name} on {self.corpus.name}, %").to_html())


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search, as pandas frames and figures."""

    experiment: Experiment
    record: SearchRecord

    @property
    def name(self) -> str:
        """The name of the search."""
        return self.record.configuration.name

    @property
    def trials(self) -> pd.DataFrame:
        """A row for each trial and visited fold, see `search.figures.trials_table`."""
        from ifmmin.orchestrator.search.figures import trials_table

        return trials_table(self.record)

    @property
    def best(self) -> dict[str, HyperparameterValue] | None:
        """The best hyperparameters, for `run(hyperparameters=...)`; None if no trial has visited all folds."""
        best = self.record.best
        return {**self.record.configuration.hyperparameters, **best.hyperparameters} if best else None

    @cached_property
    def figures(self) -> "dict[str, Drawing]":
        """The figures of the search by name; a notebook shows them."""
        from ifmmin.orchestrator.search.figures import draw_search

        return {drawing.name: drawing for drawing in draw_search(self.record)}

    def _repr_html_(self) -> str:
        return str(self.trials.to_html(index=False))


@dataclass(frozen=True)
class RunResult:
    """One run, trained and evaluated.

    Attributes:
        weights: of every trained stage, by stage and parameter name.
        history: losses and validation scores, a row for each stage and epoch.
        predictions: of the test set, a row for each condition and utterance.
        scores: WA and UA in each condition, from 0 to 1.
    """

    weights: Mapping[str, Mapping[str, Any]]
    history: pd.DataFrame
    predictions: pd.DataFrame
    scores: pd.DataFrame


def configure(
    source: str | Path | Mapping[str, Any],
    changes: Mapping[str, Any],
    hyperparameters: Mapping[str, HyperparameterValue] | None,
    workers: int | None,
) -> Configuration:
    """The configuration overridden by the arguments of a public function; None leaves a key unchanged."""
    overrides = {key: value for key, value in changes.items() if value is not None}
    if isinstance(overrides.get("systems"), str):
        overrides["systems"] = [word.strip() for word in overrides["systems"].split(",")]
    if hyperparameters:
        overrides["hyperparameters"] = dict(hyperparameters)
    if workers is not None:
        overrides["compute"] = {"workers": workers}
    return load_configuration(source if isinstance(source, Mapping) else str(source), overrides)


def run(configuration: Configuration, *, track: bool, progress: bool) -> Result:
    """Run the missing stages of an experiment; see `ifmmin.run`."""
    experiment = workflows.open_experiment(configuration)
    with _display(experiment, progress) as displays:
        outcome = workflows.run_stages(experiment, displays, track=track)
    analysis = analyse(experiment, _complete(experiment, outcome))
    report = workflows.write_report(analysis, track=track).location
    failed = {experiment.plan.describe(key): failure for key, failure in outcome.failed.items()}
    return Result(analysis, failed, report)


def search(configuration: Configuration, *, resume: bool, track: bool, progress: bool) -> SearchResult:
    """Run the missing trials of a search; see `ifmmin.search`."""
    experiment, record = workflows.begin_search(configuration, resume=resume)
    with _search_display(experiment, record, progress) as displays:
        record, _ = workflows.run_search(experiment, record, displays, track=track)
    workflows.write_search_report(experiment, record, track=track)
    return SearchResult(experiment, record)


def load(name: str, storage: str, against: Sequence[str]) -> Result | SearchResult:
    """The result of an experiment or a search in the store; see `ifmmin.load`."""
    loaded = workflows.load_search(name, storage)
    if loaded is not None:
        return SearchResult(*loaded)
    experiment = Experiment.recorded(name, storage)
    return Result(analyse(experiment, workflows.load_complete(experiment), against), {}, None)


def train(configuration: Configuration) -> RunResult:
    """Train and evaluate the one run of a configuration in this process; see `ifmmin.train`."""
    from ifmmin.data.catalogue import find_corpus
    from ifmmin.orchestrator.analysis.scores import score
    from ifmmin.orchestrator.execution.stages import execute

    corpus = find_corpus(configuration.corpus, configuration.storage)
    plan = make_plan(configuration, corpus)
    (planned,) = plan.runs
    weights: dict[str, Mapping[str, Any]] = {}
    histories, predictions = [], pd.DataFrame()
    for name, key in planned.stages.items():
        stage = plan.stages[key]
        result = execute(stage, corpus, {other: weights[other] for other in stage.upstream})
        if stage.action == "train":
            weights[name] = result.weights
            histories.append(result.tables["history"].to_pandas().assign(stage=name))
        else:
            predictions = result.tables["predictions"].to_pandas()
    named = predictions.assign(system=planned.system, fold=planned.fold, seed=planned.seed)
    scores = score(named, corpus.letters)
    return RunResult(weights, pd.concat(histories, ignore_index=True), predictions, scores)


def import_recordings(folder: Path, name: str, storage: str, options: Mapping[str, Any], progress: bool) -> "Corpus":
    """Extract what the store lacks and keep the corpus; see `ifmmin.import_recordings`."""
    from rich.console import Console

    from ifmmin.data.catalogue import keep_corpus
    from ifmmin.data.selection import Selection
    from ifmmin.orchestrator import importing
    from ifmmin.orchestrator.commands.extraction import ExtractionDisplay
    from ifmmin.orchestrator.planning.configuration import Compute

    options = dict(options)
    compute = Compute(workers=options.pop("workers", None))
    chosen = {key: options.pop(key) for key in ("layout", "extract", "allow_failures") if key in options}
    prepared = importing.prepare(folder, name, storage=storage, selection=Selection.of(options), **chosen)
    if progress:
        with ExtractionDisplay(Console(stderr=True), prepared.clips) as display:
            extraction = importing.extract(prepared, compute=compute, consumers=[display])
    else:
        extraction = importing.extract(prepared, compute=compute)
    return keep_corpus(*importing.finish(prepared, extraction), storage)


def _complete(experiment: Experiment, outcome: Outcome) -> Any:
    """The results of complete runs; if there are none, the failure is raised."""
    try:
        return workflows.load_complete(experiment)
    except UserError:
        for key, failure in outcome.failed.items():
            described = experiment.plan.describe(key)
            raise UserError(f"No run is complete: {described}: {failure.reason} ({failure.traceback}).") from None
        raise


@contextmanager
def _display(experiment: Experiment, progress: bool) -> "Iterator[list[Display]]":
    from rich.console import Console

    from ifmmin.orchestrator.commands.display import Display

    name = experiment.configuration.name
    shown = Display.of(Console(stderr=True), experiment, experiment.plan, name) if progress else None
    with shown or nullcontext():
        yield [shown] if shown else []


@contextmanager
def _search_display(experiment: Experiment, record: SearchRecord, progress: bool) -> "Iterator[list[SearchDisplay]]":
    from rich.console import Console

    from ifmmin.orchestrator.commands.search import SearchDisplay

    shown = SearchDisplay(Console(stderr=True), experiment, record) if progress else None
    with shown or nullcontext():
        yield [shown] if shown else []
