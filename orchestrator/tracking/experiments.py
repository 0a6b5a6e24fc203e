"""Writes experiments to MLflow: a parent run for each system, a child for each of its runs, and the report."""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
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
from ifmmin.orchestrator.planning.plan import Run
from ifmmin.orchestrator.reporting.description import changed_hyperparameters, describe_system
from ifmmin.orchestrator.tracking.client import (
    FAILED,
    FINISHED,
    IDENTITY,
    KILLED,
    LEVEL,
    PARENT,
    RUNNING,
    TrackingError,
    connection,
    context_tags,
    experiment_id,
    log,
    log_files,
    search_runs,
    shown_uri,
)
from ifmmin.orchestrator.tracking.metrics import measure_history, measure_mean_history, measure_scores, name_with

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from ifmmin.orchestrator.reporting.report import Report

EVALUATION = "ifmmin.evaluation"
"""Tag of a child run: key of its evaluation in the store."""


@dataclass
class _Parent:
    """The state of a system in MLflow: its parent run, that run's status, and the evaluations with a child run."""

    run_id: str
    status: str
    children: set[str]


class Tracker:
    """Brings MLflow up to the state of the store: a parent run for each system, a child for each of its runs.

    Nothing is written twice: what an earlier call of the same experiment wrote is recognised by its tags. As a consumer
    of events it writes each run when its evaluation is finished.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._runs: dict[str, list[Run]] = {}
        for run in experiment.plan.runs:
            self._runs.setdefault(run.evaluation, []).append(run)
        self._parents: dict[str, _Parent] = {}
        self._unreachable = False

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
        with connection(self._experiment.store) as client:
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
                parent = self._find_parent(client, system)
                if parent is None or parent.status != self._status(system, runs):
                    return False
                if parent.children != {run.evaluation for run in runs}:
                    return False
            return len(results.systems) == 1 or self._report_identity(client) == analysis.identity

    def finish(self, report: "Report") -> None:
        """Write what is missing: children of all completed runs, then aggregates and the report of each system.

        A system whose runs are all complete ends as FINISHED; one with runs missing as FAILED, until a later call
        completes it. The report that compares systems is a run of its own.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with connection(self._experiment.store) as client:
            for system in report.analysis.results.systems:
                self._finish_system(client, report, system)
            if len(report.analysis.results.systems) > 1:
                self._log_report(client, report)

    def interrupt(self) -> None:
        """Mark as KILLED what `record_run` began; a later `finish` completes it.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        for parent in self._parents.values():
            if parent.status == RUNNING:
                with connection(self._experiment.store) as client:
                    client.set_terminated(parent.run_id, KILLED)
                parent.status = KILLED

    def _record_run(self, client: "MlflowClient", run: Run) -> None:
        parent = self._parent(client, run.system)
        if run.evaluation in parent.children:
            return
        if parent.status != RUNNING:
            client.update_run(parent.run_id, RUNNING)
            parent.status = RUNNING
        store = self._experiment.store
        history, scores = (
            load_history([run], store),
            score(load_predictions([run], store), self._experiment.corpus.letters),
        )
        start, end = self._times(run)
        child = client.create_run(
            self._experiment_id(client),
            start_time=start,
            tags={PARENT: parent.run_id, EVALUATION: run.evaluation, LEVEL: "run"},
            run_name=f"fold {run.fold}, seed {run.seed}",
        )
        parameters = {**self._describe(run.system), "fold": str(run.fold), "seed": str(run.seed)}
        measurements = measure_scores(scores, end) + measure_history(history, start)
        log(client, child.info.run_id, parameters, measurements)
        client.set_terminated(child.info.run_id, FINISHED, end)
        parent.children.add(run.evaluation)

    def _finish_system(self, client: "MlflowClient", report: "Report", system: str) -> None:
        results = report.analysis.results.of(system)
        parent = self._parent(client, system)
        before = set(parent.children)
        for run in results.runs:
            self._record_run(client, run)
        status = self._status(system, results.runs)
        if parent.status == status and parent.children == before:
            return
        self._log_system(client, parent.run_id, report, system)
        client.set_terminated(parent.run_id, status)
        parent.status = status

    def _log_system(self, client: "MlflowClient", run_id: str, report: "Report", system: str) -> None:
        """Aggregates and artifacts of a system, and its model if all its runs are complete."""
        from ifmmin.orchestrator.analysis.trained_runs import trained_runs
        from ifmmin.orchestrator.reporting.report import report_of
        from ifmmin.orchestrator.tracking.models import log_model

        experiment, results = self._experiment, report.analysis.results.of(system)
        complete = self._status(system, results.runs) == FINISHED
        now = round(1000 * time())
        measurements = measure_scores(results.summary, now)
        if complete:
            # MLflow keeps every value ever logged, so curves are written once: when they are final.
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
        _write_report(client, run_id, report_of(report, system), others)
        if complete:
            log_model(client, run_id, trained_runs(experiment, results.runs))

    def _log_report(self, client: "MlflowClient", report: "Report") -> None:
        """The report of all systems, in one run for the experiment, replacing the previous report."""
        if self._report_identity(client) == report.analysis.identity:
            return
        experiment = self._experiment_id(client)
        runs = search_runs(client, experiment, f"tags.`{LEVEL}` = 'report'")
        run = runs[0] if runs else client.create_run(experiment, tags={LEVEL: "report"}, run_name="report")
        _write_report(client, run.info.run_id, report, {})
        client.set_tag(run.info.run_id, IDENTITY, report.analysis.identity)
        client.set_terminated(run.info.run_id, FINISHED)

    def _report_identity(self, client: "MlflowClient") -> str | None:
        """Which report of all systems MLflow has."""
        runs = search_runs(client, self._experiment_id(client), f"tags.`{LEVEL}` = 'report'")
        return runs[0].data.tags.get(IDENTITY) if runs else None

    def _status(self, system: str, complete: Iterable[Run]) -> str:
        """That of the parent of a system with these complete runs, when all is written."""
        return FINISHED if len(list(complete)) == len(self._experiment.plan.runs_of(system)) else FAILED

    def _parent(self, client: "MlflowClient", system: str) -> _Parent:
        """The parent run of a system, from an earlier call or new; half-written children of a crash are deleted."""
        if system in self._parents:
            return self._parents[system]
        parent = self._find_parent(client, system)
        if parent is not None:
            self._delete_unfinished(client, parent)
        else:
            experiment = self._experiment_id(client)
            run = client.create_run(
                experiment,
                tags={**context_tags(), IDENTITY: self._identity(system), LEVEL: "system"},
                run_name=self._name(client, experiment, system),
            )
            log(client, run.info.run_id, self._describe(system), [])
            parent = _Parent(run.info.run_id, RUNNING, set())
        self._parents[system] = parent
        return parent

    def _find_parent(self, client: "MlflowClient", system: str) -> _Parent | None:
        experiment = self._experiment_id(client)
        parents = search_runs(client, experiment, f"tags.`{IDENTITY}` = '{self._identity(system)}'")
        if not parents:
            return None
        run = parents[0].info
        children = search_runs(client, experiment, f"tags.`{PARENT}` = '{run.run_id}'")
        evaluations = {child.data.tags.get(EVALUATION, "") for child in children if child.info.status == FINISHED}
        return _Parent(run.run_id, run.status, evaluations)

    def _delete_unfinished(self, client: "MlflowClient", parent: _Parent) -> None:
        for child in search_runs(client, self._experiment_id(client), f"tags.`{PARENT}` = '{parent.run_id}'"):
            if child.info.status != FINISHED:
                client.delete_run(child.info.run_id)

    def _identity(self, system: str) -> str:
        evaluations = sorted(run.evaluation for run in self._experiment.plan.runs_of(system))
        return hashlib.sha256(json.dumps([system, evaluations]).encode()).hexdigest()[:24]

    def _experiment_id(self, client: "MlflowClient") -> str:
        return experiment_id(client, self._experiment.configuration.name)

    def _describe(self, system: str) -> dict[str, str]:
        return describe_system(self._experiment, system)

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


def compared_runs(experiment: str) -> tuple[str, list[str]]:
    """MLflow's id of an experiment, and the ids of the runs to compare, the oldest first.

    Those are its parent runs; for a search its trials.

    Raises:
        TrackingError: MLflow cannot be reached, or has no such experiment.
    """
    with connection() as client:
        known = client.get_experiment_by_name(experiment)
        if known is None or known.lifecycle_stage == "deleted":
            names = [item.name for item in client.search_experiments() if item.name != "Default"]
            hint = nearest(experiment, names) if names else "run one first, or set MLFLOW_TRACKING_URI."
            raise TrackingError(f"MLflow at {shown_uri()} has no experiment '{experiment}'; {hint}")
        runs = search_runs(client, known.experiment_id, f"tags.`{LEVEL}` = 'system'") or search_runs(
            client, known.experiment_id, f"tags.`{LEVEL}` = 'trial'"
        )
        return str(known.experiment_id), [run.info.run_id for run in reversed(runs)]


def _write_report(client: "MlflowClient", run_id: str, report: "Report", others: Mapping[str, bytes]) -> None:
    """The files of a report and others as artifacts, and its table as the description of the run."""
    from ifmmin.orchestrator.reporting.formats import markdown
    from ifmmin.orchestrator.reporting.report import report_files

    # MLflow draws tables without space between cells; the line of colons must stay as it is.
    lines = markdown(report.analysis.summary, report.analysis.comparison).splitlines()
    note = "\n".join(line if "--:" in line else re.sub(r"(?<=\S) \|", " &emsp;|", line) for line in lines)
    client.set_tag(run_id, "mlflow.note.content", note)
    log_files(client, run_id, {**report_files(report), **others})
