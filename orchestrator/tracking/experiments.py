"""Writes experiments to MLflow: a parent run for each system, a child for each of its runs, and the report."""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import time
from typing import TYPE_CHECKING

import yaml

from ifmmin.data.errors import UserError, nearest
from ifmmin.orchestrator.analysis.experiment import Analysis
from ifmmin.orchestrator.analysis.results import load_history, load_predictions
from ifmmin.orchestrator.analysis.scores import score
from ifmmin.orchestrator.execution.events import Event, Finished
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.catalogue import outside_systems
from ifmmin.orchestrator.planning.plan import Plan, Run
from ifmmin.orchestrator.reporting.description import changed_hyperparameters, describe_system, write_numbers
from ifmmin.orchestrator.tracking.client import (
    FAILED,
    FINISHED,
    IDENTITY,
    KILLED,
    LEVEL,
    PARENT,
    RUNNING,
    Losses,
    TrackingError,
    connection,
    context_tags,
    experiment_id,
    log,
    log_files,
    log_note,
    search_runs,
    shown_uri,
)
from ifmmin.orchestrator.tracking.datasets import corpus_input
from ifmmin.orchestrator.tracking.faults import unreachable
from ifmmin.orchestrator.tracking.lock import alone
from ifmmin.orchestrator.tracking.metrics import measure_history, measure_mean_history, measure_scores, name_with

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

    from ifmmin.orchestrator.reporting.report import Report

EVALUATION = "ifmmin.evaluation"
"""Tag of a child run: key of its evaluation in the store."""

OF = "ifmmin.of"
"""Tag of a child run: the identity of its parent; of a report: the identity of its experiment."""


_OF_A_RUN = {"key", "fold", "seed", "upstream"}

REPORTED = "ifmmin.reported"
"""Tag of a parent: hash of the evaluations that its aggregates and files are of."""

LOST = "ifmmin.lost"
"""Tag of a parent: what MLflow could not keep of it, in a sentence; a later call tries again."""


@dataclass(frozen=True)
class _Parent:
    """A system in MLflow: its parent run, and by their evaluations its finished child runs."""

    run_id: str
    status: str
    reported: str
    lost: str
    children: Mapping[str, str]


class Tracker:
    """Brings MLflow up to the state of the store: a parent run for each system, a child for each of its runs.

    A parent stands for a system with its hyperparameters on a corpus, whatever the names are; folds and seeds are what
    it holds so far. Nothing is written twice: what earlier calls, or other drivers at the same time, wrote of the same
    is recognised by tags. As a consumer of events it writes each run when its evaluation is finished.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._runs: dict[str, list[Run]] = {}
        for run in experiment.plan.runs:
            self._runs.setdefault(run.evaluation, []).append(run)
        self._parents: dict[str, str] = {}
        self._unreachable = False
        self._losses = Losses()

    def take(self, event: Event) -> None:
        """Record the runs whose evaluation has finished.

        If MLflow cannot be written, computing goes on; `finish` writes what is missing, or raises.
        """
        if not isinstance(event, Finished) or self._unreachable:
            return
        try:
            for run in self._runs.get(event.stage.key, []):
                self.record_run(run)
        except UserError:
            self._unreachable = True

    def record_run(self, run: Run) -> None:
        """Write the child of a run whose evaluation is in the store, unless it is there.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with self._alone() as client:
            self._record_run(client, run)

    def is_current(self, analysis: Analysis) -> bool:
        """Whether MLflow has all that `finish` would write.

        Raises:
            TrackingError: MLflow cannot be reached.
        """
        results = analysis.results
        with connection(self._experiment.store) as client:
            for system in results.systems:
                runs = results.of(system).runs
                parents = self._find_parents(client, system)
                if len(parents) != 1 or not self._is_current(self._read_parent(client, system, parents[0]), runs):
                    return False
            return len(results.systems) == 1 or self._report_identity(client) == analysis.identity

    def finish(self, report: "Report") -> str:
        """Write what is missing: children of all completed runs, then aggregates and the report of each system.

        A system whose runs are all complete ends as FINISHED; one with runs missing as FAILED, until a later call
        completes it. The report that compares systems is a run of its own.

        Returns:
            A sentence on what MLflow could not keep; empty if it has everything.

        Raises:
            TrackingError: MLflow cannot be reached or written; what could be written is.
        """
        errors: list[Exception] = []
        with self._alone() as client:
            for system in report.analysis.results.systems:
                try:
                    self._finish_system(client, report, system)
                except Exception as error:
                    errors.append(error)
                    if unreachable(error):
                        break
            if len(report.analysis.results.systems) > 1 and not errors:
                self._log_report(client, report)
            if errors:
                raise errors[0]
        return str(self._losses)

    def interrupt(self) -> None:
        """Mark as KILLED the parents that are not finished, whatever call began them; a later `finish` completes them.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with self._alone() as client:
            for system in self._experiment.plan.systems:
                for run_id in self._find_parents(client, system):
                    if client.get_run(run_id).info.status == RUNNING:
                        client.set_terminated(run_id, KILLED)

    @contextmanager
    def _alone(self) -> "Iterator[MlflowClient]":
        """A client, while no other driver of the store writes."""
        with connection(self._experiment.store) as client, alone(self._experiment.store, "tracking"):
            yield client

    def _record_run(self, client: "MlflowClient", run: Run) -> None:
        parent = self._parent(client, run.system)
        experiment = self._experiment_id(client)
        written = f"tags.`{PARENT}` = '{parent}' AND tags.`{EVALUATION}` = '{run.evaluation}'"
        for child in search_runs(client, experiment, written):
            if child.info.status == FINISHED:
                return
            client.delete_run(child.info.run_id)  # half written by a driver that crashed
        if client.get_run(parent).info.status != RUNNING:
            client.update_run(parent, RUNNING)
        store = self._experiment.store
        history, scores = (
            load_history([run], store),
            score(load_predictions([run], store), self._experiment.corpus.letters),
        )
        start, end = self._times(run)
        child = client.create_run(
            experiment,
            start_time=start,
            tags={PARENT: parent, EVALUATION: run.evaluation, OF: self._identity(run.system), LEVEL: "run"},
            run_name=f"fold {run.fold}, seed {run.seed}",
        )
        parameters = {**self._describe(run.system), "fold": str(run.fold), "seed": str(run.seed)}
        measurements = measure_scores(scores, end) + measure_history(history, start)
        log(client, child.info.run_id, parameters, measurements)
        self._log_corpus(client, child.info.run_id)
        client.set_terminated(child.info.run_id, FINISHED, end)

    def _finish_system(self, client: "MlflowClient", report: "Report", system: str) -> None:
        runs = report.analysis.results.of(system).runs
        self._parents[system] = self._join(client, system)
        parent = self._read_parent(client, system, self._parents[system])
        if self._is_current(parent, runs):
            return
        for run in runs:
            if run.evaluation not in parent.children:
                self._record_run(client, run)
        if parent.reported != _hash_of(runs) or parent.lost or parent.status != self._status(system, runs):
            self._log_system(client, parent, report, system)
        client.set_terminated(parent.run_id, self._status(system, runs))

    def _log_system(self, client: "MlflowClient", parent: _Parent, report: "Report", system: str) -> None:
        """Aggregates and artifacts of a system, and its model if all its runs are complete."""
        from ifmmin.orchestrator.analysis.trained_runs import trained_runs
        from ifmmin.orchestrator.reporting.report import report_of
        from ifmmin.orchestrator.tracking.models import log_model

        experiment, results, run_id = self._experiment, report.analysis.results.of(system), parent.run_id
        complete, reported = self._status(system, results.runs) == FINISHED, _hash_of(results.runs)
        if parent.reported != reported or parent.status != self._status(system, results.runs):
            now = round(1000 * time())
            measurements = measure_scores(results.summary, now)
            if complete:
                # MLflow keeps every value ever logged, so curves are written when they are final.
                evaluated = experiment.plan.stages[results.runs[0].evaluation].upstream
                measurements += measure_mean_history(results.history[results.history["stage"].isin(evaluated)], now)
            log(client, run_id, {}, measurements)
        configuration = experiment.configuration.model_dump(mode="json", exclude={"storage"})
        predictions = io.BytesIO()
        results.predictions.to_parquet(predictions, compression="zstd")
        others = {
            "scores.csv": results.scores.to_csv(index=False).encode(),
            "predictions.parquet": predictions.getvalue(),
            "configuration.yaml": yaml.safe_dump(configuration, sort_keys=False).encode(),
        }
        if outside := outside_systems().get(system):
            others |= {f"program/{outside.program.file_of(n)}": t.encode() for n, t in outside.program.texts.items()}
        losses = Losses()
        with losses.allow("tables, figures and predictions"):
            _write_report(client, run_id, report_of(report, system), others)
        if complete:
            with losses.allow("trained models"):
                program = outside.program if outside else None
                runs = trained_runs(experiment, results.runs)
                log_model(client, run_id, runs, reported, program, experiment.corpus.extractors)
        self._losses.add(losses)
        tags = {"folds": (run.fold for run in results.runs), "seeds": (run.seed for run in results.runs)}
        for name, numbers in tags.items():
            client.set_tag(run_id, name, write_numbers(numbers))
        if parent.lost or str(losses):
            client.set_tag(run_id, LOST, str(losses))
        client.set_tag(run_id, REPORTED, reported)

    def _log_report(self, client: "MlflowClient", report: "Report") -> None:
        """The report of all systems, in one run for the experiment, replacing the previous report."""
        if self._report_identity(client) == report.analysis.identity:
            return
        experiment = self._experiment_id(client)
        if runs := self._reports(client):
            run_id = runs[0].info.run_id
        else:
            tags = {LEVEL: "report", OF: self._experiment.identity}
            run_id = client.create_run(experiment, tags=tags, run_name="report").info.run_id
            self._log_corpus(client, run_id)
        with self._losses.allow("the report"):
            _write_report(client, run_id, report, {})
        client.set_tag(run_id, IDENTITY, report.analysis.identity)
        client.set_terminated(run_id, FINISHED)

    def _report_identity(self, client: "MlflowClient") -> str | None:
        """Which report of all systems MLflow has."""
        runs = self._reports(client)
        return runs[0].data.tags.get(IDENTITY) if runs else None

    def _reports(self, client: "MlflowClient") -> "list[MlflowRun]":
        condition = f"tags.`{LEVEL}` = 'report' AND tags.`{OF}` = '{self._experiment.identity}'"
        return search_runs(client, self._experiment_id(client), condition)

    def _status(self, system: str, complete: Iterable[Run]) -> str:
        """That of the parent of a system with these complete runs, when all is written."""
        return FINISHED if len(list(complete)) == len(self._experiment.plan.runs_of(system)) else FAILED

    def _is_current(self, parent: _Parent, runs: Sequence[Run]) -> bool:
        return (
            parent.status == self._status(runs[0].system, runs)
            and parent.reported == _hash_of(runs)
            and not parent.lost
            and {run.evaluation for run in runs} <= parent.children.keys()
        )

    def _parent(self, client: "MlflowClient", system: str) -> str:
        """The parent run of a system, from an earlier call, from another driver, or new."""
        known = self._parents.get(system)
        if known is None or client.get_run(known).info.lifecycle_stage == "deleted":
            known = next(iter(self._find_parents(client, system)), None) or self._make_parent(client, system)
        self._parents[system] = known
        return known

    def _make_parent(self, client: "MlflowClient", system: str) -> str:
        experiment = self._experiment_id(client)
        run = client.create_run(
            experiment,
            tags={**context_tags(), IDENTITY: self._identity(system), LEVEL: "system"},
            run_name=self._name(client, experiment, system),
        )
        log(client, run.info.run_id, self._describe(system), [])
        self._log_corpus(client, run.info.run_id)
        return str(run.info.run_id)

    def _find_parents(self, client: "MlflowClient", system: str) -> list[str]:
        """The parents of a system, the oldest first; several where drivers without a common lock made one each."""
        condition = f"tags.`{LEVEL}` = 'system' AND tags.`{IDENTITY}` = '{self._identity(system)}'"
        parents = search_runs(client, self._experiment_id(client), condition)
        return [run.info.run_id for run in sorted(parents, key=lambda run: (run.info.start_time, run.info.run_id))]

    def _read_parent(self, client: "MlflowClient", system: str, run_id: str) -> _Parent:
        run = client.get_run(run_id)
        children = self._children(client, system)
        finished = {
            child.data.tags[EVALUATION]: child.info.run_id
            for child in children
            if child.info.status == FINISHED and child.data.tags[PARENT] == run_id
        }
        tags = run.data.tags
        return _Parent(run_id, run.info.status, tags.get(REPORTED, ""), tags.get(LOST, ""), finished)

    def _children(self, client: "MlflowClient", system: str) -> "list[MlflowRun]":
        return search_runs(client, self._experiment_id(client), f"tags.`{OF}` = '{self._identity(system)}'")

    def _join(self, client: "MlflowClient", system: str) -> str:
        """The one parent of a system: of several the oldest, to which the children of all belong, each once."""
        parents = self._find_parents(client, system)
        parent = parents[0] if parents else self._make_parent(client, system)
        seen: set[str] = set()
        order = sorted(self._children(client, system), key=lambda run: (run.info.status != FINISHED, run.info.run_id))
        for child in order:
            evaluation = child.data.tags[EVALUATION]
            if child.info.status != FINISHED or evaluation in seen:
                client.delete_run(child.info.run_id)
            elif child.data.tags[PARENT] != parent:
                client.set_tag(child.info.run_id, PARENT, parent)
            seen.add(evaluation)
        for other in parents[1:]:
            client.delete_run(other)
        return parent

    def _identity(self, system: str) -> str:
        return system_identity(self._experiment.plan, system)

    def _experiment_id(self, client: "MlflowClient") -> str:
        return experiment_id(client, self._experiment.configuration.name)

    def _describe(self, system: str) -> dict[str, str]:
        """What all runs of a system have in common."""
        description = describe_system(self._experiment, system)
        return {name: value for name, value in description.items() if name not in ("folds", "seeds")}

    def _log_corpus(self, client: "MlflowClient", run_id: str) -> None:
        with self._losses.allow("the corpus as a dataset"):
            client.log_inputs(run_id, [corpus_input(self._experiment)])

    def _name(self, client: "MlflowClient", experiment: str, system: str) -> str:
        """The system and its changed hyperparameters; where that name is taken, also what else differs."""
        changed = changed_hyperparameters(self._experiment.plan, system)
        name, description = name_with(system, changed), self._describe(system)
        differing: dict[str, str] = {}
        for other in search_runs(client, experiment, f"tags.`{LEVEL}` = 'system' AND attributes.run_name = '{name}'"):
            differing |= {key: value for key, value in description.items() if other.data.params.get(key) != value}
        return name_with(system, {**changed, **differing})

    def _times(self, run: Run) -> tuple[int, int]:
        """Start and end of a run, as if computed without interruption, in milliseconds since 1970."""
        records = [self._experiment.store.read_record(key) for key in run.stages.values()]
        end = datetime.fromisoformat(records[-1]["finished"]).timestamp()
        return round(1000 * (end - sum(record["seconds"] for record in records))), round(1000 * end)


def system_identity(plan: Plan, system: str) -> str:
    """Hash of everything that the results of a system depend on besides fold and seed."""
    stages = [plan.stages[key] for key in plan.runs_of(system)[0].stages.values()]
    common = [{key: value for key, value in vars(stage).items() if key not in _OF_A_RUN} for stage in stages]
    for content in common:
        if content["train_missing"] is None:  # which identities in the MLflow of users do not have
            del content["train_missing"]
    return hashlib.sha256(json.dumps([system, common], sort_keys=True, default=dict).encode()).hexdigest()[:24]


def _hash_of(runs: Iterable[Run]) -> str:
    return hashlib.sha256(json.dumps(sorted(run.evaluation for run in runs)).encode()).hexdigest()[:24]


def compared_runs(experiment: str) -> tuple[str, list[str]]:
    """MLflow's id of an experiment, and the ids of the runs to compare, the oldest first.

    Those are its parent runs; where it has none the trials of its last search.

    Raises:
        TrackingError: MLflow cannot be reached, or has no such experiment.
    """
    with connection() as client:
        known = client.get_experiment_by_name(experiment)
        if known is None or known.lifecycle_stage == "deleted":
            names = [item.name for item in client.search_experiments() if item.name != "Default"]
            hint = nearest(experiment, names) if names else "run one first, or set MLFLOW_TRACKING_URI."
            raise TrackingError(f"MLflow at {shown_uri()} has no experiment '{experiment}'; {hint}")
        runs = search_runs(client, known.experiment_id, f"tags.`{LEVEL}` = 'system'")
        if not runs:
            for parent in search_runs(client, known.experiment_id, f"tags.`{LEVEL}` = 'search'")[:1]:
                runs = search_runs(client, known.experiment_id, f"tags.`{PARENT}` = '{parent.info.run_id}'")
        return str(known.experiment_id), [run.info.run_id for run in reversed(runs)]


def _write_report(client: "MlflowClient", run_id: str, report: "Report", others: Mapping[str, bytes]) -> None:
    """The files of a report and others as artifacts, and its table as the description of the run."""
    from ifmmin.orchestrator.reporting.formats import markdown
    from ifmmin.orchestrator.reporting.report import report_files

    # MLflow draws tables without space between cells; the line of colons must stay as it is.
    analysis = report.analysis
    lines = markdown(analysis.summary, analysis.comparison, analysis.remarks).splitlines()
    note = "\n".join(line if "--:" in line else re.sub(r"(?<=\S) \|", " &emsp;|", line) for line in lines)
    log_note(client, run_id, note)
    log_files(client, run_id, {**report_files(report), **others})
