"""Writes an experiment to MLflow, from the driver alone. With `search_tracking` and `serving` all that knows MLflow.

MLflow's own environment variables and defaults decide where: MLFLOW_TRACKING_URI, else mlflow.db in the working folder.
"""

import hashlib
import io
import json
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import yaml

from ifmmin.data.errors import UserError, nearest
from ifmmin.orchestrator.analysis.scores import load_history, load_predictions, score
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import Run
from ifmmin.orchestrator.reporting import formats as table_formats
from ifmmin.orchestrator.reporting.report import Report
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.tracking.metrics import (
    Measurement,
    describe_parameters,
    describe_settings,
    measure_history,
    measure_mean_history,
    measure_scores,
    name_with,
)

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

IDENTITY = "ifmmin.identity"
"""Tag of a parent run and of a report: hash of all evaluations it stands for."""

EVALUATION = "ifmmin.evaluation"
"""Tag of a child run: key of its evaluation in the store."""

LEVEL = "ifmmin.level"
"""Tag of every run, to filter by: `system` for parents, `run` for children, `report` for the comparison of systems;
`search` and `trial` are those of `search_tracking`."""

PARENT = "mlflow.parentRunId"
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"

_METRICS_AT_ONCE, _PARAMETERS_AT_ONCE, _PARAMETER_LENGTH = 1000, 100, 6000
"""What MLflow accepts."""

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own patience with a server that does not answer is many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}.items():
    os.environ.setdefault(_name, _value)


class TrackingError(UserError):
    """MLflow's tracking server or database cannot be reached or written."""


@dataclass
class _Parent:
    """What of a system is in MLflow: its parent run, the status of that, and the evaluations that have a child run."""

    run_id: str
    status: str
    children: set[str] = field(default_factory=set)


class Tracker:
    """Brings MLflow up to the state of the store: a parent run for each system, a child for each of its runs.

    Nothing is written twice: what is in MLflow already, from an earlier call of the same experiment, is found by tags.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment, self._configuration, self._plan = experiment, experiment.configuration, experiment.plan
        self._corpus, self._store = experiment.corpus, experiment.store
        self._parents: dict[str, _Parent] = {}

    def record_run(self, run: Run) -> None:
        """Write the child of a run whose evaluation is in the store, unless it is there.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with told(self._store):
            self._record_run(connect(), run)

    def finish(self, report: Report) -> None:
        """Write what is missing: children of all completed runs, then aggregates and the report of each system.

        A system whose runs are all complete ends as FINISHED; one with runs missing as FAILED, until a later call
        completes it. The report that compares systems is a run of its own.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with told(self._store):
            client = connect()
            for system in report.results.systems:
                self._finish_system(client, report.of(system))
            if len(report.results.systems) > 1:
                self._log_report(client, report)

    def interrupt(self) -> None:
        """Mark as KILLED what `record_run` began; a later `finish` completes it.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with told(self._store):
            for parent in self._parents.values():
                if parent.status == RUNNING:
                    connect().set_terminated(parent.run_id, KILLED)
                    parent.status = KILLED

    def _record_run(self, client: "MlflowClient", run: Run) -> None:
        parent = self._parent(client, run.system)
        if run.evaluation in parent.children:
            return
        if parent.status != RUNNING:
            client.update_run(parent.run_id, RUNNING)
            parent.status = RUNNING
        history, scores = load_history([run], self._store), score(load_predictions([run], self._store))
        start, end = self._times(run)
        child = client.create_run(
            experiment_id(client, self._configuration.name),
            start_time=start,
            tags={PARENT: parent.run_id, EVALUATION: run.evaluation, LEVEL: "run"},
            run_name=f"fold {run.fold}, seed {run.seed}",
        )
        parameters = {**self._parameters(run.system), "fold": str(run.fold), "seed": str(run.seed)}
        measurements = measure_scores(scores, end) + measure_history(history, start)
        log(client, child.info.run_id, parameters, measurements)
        client.set_terminated(child.info.run_id, FINISHED, end)
        parent.children.add(run.evaluation)

    def _finish_system(self, client: "MlflowClient", report: Report) -> None:
        from ifmmin.orchestrator.commands.predict import trained_runs
        from ifmmin.orchestrator.tracking.models import log_model

        results = report.results
        (system,) = results.systems
        parent = self._parent(client, system)
        before = set(parent.children)
        for run in results.runs:
            self._record_run(client, run)
        complete = len(results.runs) == len(self._plan.runs_of(system))
        status = FINISHED if complete else FAILED
        if parent.status == status and parent.children == before:
            return
        now = round(1000 * time())
        measurements = measure_scores(results.summary, now)
        if complete:
            # MLflow keeps every value ever logged, so curves are written once: when they are final.
            measurements += measure_mean_history(results.history, now)
        log(client, parent.run_id, {}, measurements)
        settings = self._configuration.model_dump(mode="json", exclude={"storage"})
        predictions = io.BytesIO()
        results.predictions.to_parquet(predictions, compression="zstd")
        _log_files(
            client,
            parent.run_id,
            report,
            {
                "scores.csv": results.scores.to_csv(index=False).encode(),
                "predictions.parquet": predictions.getvalue(),
                "configuration.yaml": yaml.safe_dump(settings, sort_keys=False).encode(),
            },
        )
        if complete:
            log_model(client, parent.run_id, trained_runs(self._experiment, results.runs))
        client.set_terminated(parent.run_id, status)
        parent.status = status

    def _log_report(self, client: "MlflowClient", report: Report) -> None:
        """The report of all systems, in one run for the experiment, over what it said before."""
        experiment = experiment_id(client, self._configuration.name)
        found = search(client, experiment, f"tags.`{LEVEL}` = 'report'")
        if found and found[0].data.tags.get(IDENTITY) == report.identity:
            return
        run = found[0] if found else client.create_run(experiment, tags={LEVEL: "report"}, run_name="report")
        _log_files(client, run.info.run_id, report, {})
        client.set_tag(run.info.run_id, IDENTITY, report.identity)
        client.set_terminated(run.info.run_id, FINISHED)

    def _parent(self, client: "MlflowClient", system: str) -> _Parent:
        """The parent run of a system, found or new; children that a crash left half-written are deleted."""
        if system in self._parents:
            return self._parents[system]
        experiment = experiment_id(client, self._configuration.name)
        found = search(client, experiment, f"tags.`{IDENTITY}` = '{self._identity(system)}'")
        if found:
            parent = _Parent(found[0].info.run_id, found[0].info.status)
            for child in search(client, experiment, f"tags.`{PARENT}` = '{parent.run_id}'"):
                if child.info.status == FINISHED:
                    parent.children.add(child.data.tags.get(EVALUATION, ""))
                else:
                    client.delete_run(child.info.run_id)
        else:
            run = client.create_run(
                experiment,
                tags={**context_tags(), IDENTITY: self._identity(system), LEVEL: "system"},
                run_name=self._name(client, experiment, system),
            )
            log(client, run.info.run_id, self._parameters(system), [])
            parent = _Parent(run.info.run_id, RUNNING)
        self._parents[system] = parent
        return parent

    def _identity(self, system: str) -> str:
        evaluations = sorted(run.evaluation for run in self._plan.runs_of(system))
        return hashlib.sha256(json.dumps([system, evaluations]).encode()).hexdigest()[:24]

    def _parameters(self, system: str) -> dict[str, str]:
        return describe_parameters(self._configuration, self._plan, self._corpus, system)

    def _name(self, client: "MlflowClient", experiment: str, system: str) -> str:
        """The system and what was set differently; where that name is taken, also what else differs."""
        settings = describe_settings(self._configuration, self._plan, self._corpus, system)
        name = name_with(system, settings)
        others: dict[str, str] = {}
        for other in search(client, experiment, f"tags.`{LEVEL}` = 'system' AND attributes.run_name = '{name}'"):
            parameters = self._parameters(system)
            others |= {key: value for key, value in parameters.items() if other.data.params.get(key) != value}
        return name_with(system, {**settings, **others})

    def _times(self, run: Run) -> tuple[int, int]:
        """When a run was computed, as if in one go: start and end in milliseconds since 1970."""
        records = [self._store.read_record(key) for key in run.stages.values()]
        end = datetime.fromisoformat(records[-1]["finished"]).timestamp()
        return round(1000 * (end - sum(record["seconds"] for record in records))), round(1000 * end)


def compared_runs(experiment: str) -> tuple[str, list[str]]:
    """MLflow's id of an experiment, and the ids of the runs that one compares, the oldest first.

    Those are its parent runs; for a search its trials.

    Raises:
        TrackingError: MLflow cannot be reached, or has no such experiment.
    """
    with told():
        client = connect()
        found = client.get_experiment_by_name(experiment)
        if found is None or found.lifecycle_stage == "deleted":
            known = [item.name for item in client.search_experiments() if item.name != "Default"]
            hint = nearest(experiment, known) if known else "run one first, or set MLFLOW_TRACKING_URI."
            raise TrackingError(f"MLflow at {_shown_uri()} has no experiment '{experiment}'; {hint}")
        runs = search(client, found.experiment_id, f"tags.`{LEVEL}` = 'system'") or search(
            client, found.experiment_id, f"tags.`{LEVEL}` = 'trial'"
        )
        return str(found.experiment_id), [run.info.run_id for run in reversed(runs)]


def tracking_uri() -> str:
    """Where MLflow keeps its data: what its environment variables say, else its default."""
    from mlflow.tracking import get_tracking_uri

    return str(get_tracking_uri())


def connect() -> "MlflowClient":
    from mlflow.store.db import utils
    from mlflow.tracking import MlflowClient

    utils.MAX_RETRY_COUNT = 3  # MLflow's own patience with a database that does not answer is many minutes, too
    return MlflowClient()


@contextmanager
def told(store: Store | None = None) -> Iterator[None]:
    """Turn what MLflow raises into one sentence for people."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        safe = f"; the results are safe in {store.location}, and the same command writes them later" if store else ""
        raise TrackingError(
            f"MLflow at {_shown_uri()} cannot be reached or written ({_reason(error)}){safe}."
        ) from error


def _shown_uri() -> str:
    return re.sub(r"//[^/@]*@", "//", tracking_uri())  # without user and password


def _reason(error: BaseException) -> str:
    """What the system said, which MLflow wraps several times; else the first line of the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return textwrap.shorten(str(error).strip().splitlines()[0], 160)


def context_tags() -> dict[str, str]:
    """Who runs what, as MLflow itself notes it: user, source and commit."""
    from mlflow.tracking.context.registry import resolve_tags

    return dict(resolve_tags())


def experiment_id(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"}))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def search(client: "MlflowClient", experiment: str, condition: str) -> "list[MlflowRun]":
    runs: list[MlflowRun] = []
    token: str | None = None
    while token is None or token:
        page = client.search_runs([experiment], condition, max_results=1000, page_token=token)
        runs += page
        token = page.token or ""
    return runs


def _log_files(client: "MlflowClient", run_id: str, report: Report, others: Mapping[str, bytes]) -> None:
    """The files of a report and others as artifacts, and its table as what MLflow says of the run."""
    # MLflow draws tables without space between cells; the line of colons must stay as it is.
    lines = table_formats.markdown(report.summary, report.comparison).splitlines()
    note = "\n".join(line if "--:" in line else re.sub(r"(?<=\S) \|", " &emsp;|", line) for line in lines)
    client.set_tag(run_id, "mlflow.note.content", note)
    log_contents(client, run_id, {**report.files(), **others})


def log_contents(client: "MlflowClient", run_id: str, files: Mapping[str, bytes]) -> None:
    """Files as artifacts, by relative path."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        client.log_artifacts(run_id, folder)


def log(
    client: "MlflowClient", run_id: str, parameters: Mapping[str, str], measurements: Sequence[Measurement]
) -> None:
    from mlflow.entities import Metric, Param

    items = [Param(name, value[:_PARAMETER_LENGTH]) for name, value in parameters.items()]
    for start in range(0, len(items), _PARAMETERS_AT_ONCE):
        client.log_batch(run_id, params=items[start : start + _PARAMETERS_AT_ONCE])
    for start in range(0, len(measurements), _METRICS_AT_ONCE):
        batch = [Metric(*measurement) for measurement in measurements[start : start + _METRICS_AT_ONCE]]
        client.log_batch(run_id, metrics=batch)
