"""The connection to MLflow: where it is, what it raises, and the few calls that experiments and searches share.

MLflow's own environment variables and defaults decide where: MLFLOW_TRACKING_URI, else mlflow.db in the working folder.
"""

import os
import re
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.tracking.metrics import Measurement

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

IDENTITY = "ifmmin.identity"
"""Tag of a parent run and of a report: hash of all evaluations it stands for."""

LEVEL = "ifmmin.level"
"""Tag of every run, to filter by: `system` for parents, `run` for children, `report` for the comparison of systems;
`search` and `trial` for searches."""

PARENT = "mlflow.parentRunId"
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"

_METRICS_AT_ONCE, _PARAMETERS_AT_ONCE, _PARAMETER_LENGTH = 1000, 100, 6000
"""What MLflow accepts."""

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # By default MLflow waits many minutes for a server that does not answer.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}


class TrackingError(UserError):
    """MLflow's tracking server or database cannot be reached or written."""


def prepare_environment() -> None:
    """Set the environment variables that MLflow reads when it is imported, unless the user has set them."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def tracking_uri() -> str:
    """The tracking URI: that of MLflow's environment variables, else its default."""
    prepare_environment()
    from mlflow.tracking import get_tracking_uri

    return str(get_tracking_uri())


@contextmanager
def connection(store: Store | None = None) -> "Iterator[MlflowClient]":
    """A client whose errors are one sentence.

    Args:
        store: which holds what is to be written, so that a failure can say that nothing is lost.

    Raises:
        TrackingError: MLflow cannot be reached or written.
    """
    prepare_environment()
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield _connect()
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        safe = f"; the results are safe in {store.location}, and the same command writes them later" if store else ""
        raise TrackingError(
            f"MLflow at {shown_uri()} cannot be reached or written ({_reason(error)}){safe}."
        ) from error


def shown_uri() -> str:
    """The tracking URI without user and password."""
    return re.sub(r"//[^/@]*@", "//", tracking_uri())


def context_tags() -> dict[str, str]:
    """User, source and commit, in MLflow's tags."""
    from mlflow.tracking.context.registry import resolve_tags

    return dict(resolve_tags())


def experiment_id(client: "MlflowClient", name: str) -> str:
    """MLflow's id of an experiment, which is created if missing and restored if deleted."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"}))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def search_runs(client: "MlflowClient", experiment: str, condition: str) -> "list[MlflowRun]":
    """All runs of an experiment, by its id, that fulfil a condition; the newest first."""
    runs: list[MlflowRun] = []
    token: str | None = None
    while token is None or token:
        page = client.search_runs([experiment], condition, max_results=1000, page_token=token)
        runs += page
        token = page.token or ""
    return runs


def log(
    client: "MlflowClient", run_id: str, parameters: Mapping[str, str], measurements: Sequence[Measurement]
) -> None:
    """Parameters and measurements of a run."""
    from mlflow.entities import Metric, Param

    params = [Param(name, value[:_PARAMETER_LENGTH]) for name, value in parameters.items()]
    for start in range(0, len(params), _PARAMETERS_AT_ONCE):
        client.log_batch(run_id, params=params[start : start + _PARAMETERS_AT_ONCE])
    for start in range(0, len(measurements), _METRICS_AT_ONCE):
        batch = [Metric(*measurement) for measurement in measurements[start : start + _METRICS_AT_ONCE]]
        client.log_batch(run_id, metrics=batch)


def log_files(client: "MlflowClient", run_id: str, files: Mapping[str, bytes]) -> None:
    """Files as artifacts of a run, by relative path."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        client.log_artifacts(run_id, folder)


def _connect() -> "MlflowClient":
    from mlflow.store.db import utils
    from mlflow.tracking import MlflowClient

    utils.MAX_RETRY_COUNT = 3  # by default MLflow waits many minutes for a database too
    return MlflowClient()


def _reason(error: BaseException) -> str:
    """What the operating system said, which MLflow wraps several times; else the first line of the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return textwrap.shorten(str(error).strip().splitlines()[0], 160)
