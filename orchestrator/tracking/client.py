"""The connection to MLflow: where it is, what it raises, and the few calls that experiments and searches share.

MLflow's own environment variables and defaults decide where: MLFLOW_TRACKING_URI, else mlflow.db in the working folder.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.tracking.faults import LOCAL, describe, hide, hide_in_chain, shown, unreachable, why_not
from ifmmin.orchestrator.tracking.lock import alone_on_this_machine
from ifmmin.orchestrator.tracking.metrics import Measurement
from ifmmin.version import package_version

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

IDENTITY = "ifmmin.identity"
"""Tag of a parent run, of a search and of a report: what they are, whatever their names; see `Tracker`."""

LEVEL = "ifmmin.level"
"""Tag of every run, to filter by: `system` for parents, `run` for children, `report` for the comparison of systems;
`search` and `trial` for searches."""

CHECKED = "ifmmin.checked"
"""Tag of an experiment: when a driver last tried whether it can write, in seconds since 1970."""

PARENT = "mlflow.parentRunId"
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"

_METRICS_AT_ONCE, _PARAMETERS_AT_ONCE, _PARAMETER_LENGTH = 1000, 100, 6000
"""What MLflow accepts."""

_NOTE, _NOTE_LENGTH = "mlflow.note.content", 8000
_LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]")

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Everything that it logs it raises too; logged, it would come with tracebacks and passwords.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
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
    _reach_loopback_directly()


def tracking_uri() -> str:
    """The tracking URI: that of MLflow's environment variables, else its default."""
    prepare_environment()
    from mlflow.tracking import get_tracking_uri

    return str(get_tracking_uri())


@contextmanager
def connection(store: Store | None = None) -> "Iterator[MlflowClient]":
    """A client whose errors are one sentence, without passwords.

    Args:
        store: which holds what is to be written, so that a failure can say that nothing is lost.

    Raises:
        TrackingError: MLflow cannot be reached or written.
    """
    prepare_environment()
    try:
        yield _connect()
    except UserError:
        raise
    except Exception as error:  # MLflow passes on whatever databases, servers and buckets raise
        hide_in_chain(error, tracking_uri())
        if store:
            safe = f"; the results are safe in {store.location}, and the same command writes them later"
        else:
            safe = f"; start it, or set {LOCAL}" if unreachable(error) else ""
        raise TrackingError(f"MLflow at {shown_uri()} {describe(error, tracking_uri())}{safe}.") from error


def check(name: str) -> None:
    """Try to write to MLflow, before hours are spent on results for it: the experiment of this name is made or marked.

    Raises:
        TrackingError: MLflow cannot be reached or written.
    """
    with connection() as client:
        client.set_experiment_tag(experiment_id(client, name), CHECKED, str(round(time.time())))


class Losses:
    """What MLflow could not keep of an experiment, and why, while it could keep the rest."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def __str__(self) -> str:
        """One sentence; empty if nothing was lost."""
        if not self._reasons:
            return ""
        reasons = dict.fromkeys(self._reasons.values())
        parts = [f"{_listed([w for w, r in self._reasons.items() if r == reason])}: {reason}" for reason in reasons]
        return f"MLflow at {shown_uri()} has the runs, but not {'; nor '.join(parts)}."

    def add(self, other: "Losses") -> None:
        """Note what others noted."""
        for what, reason in other._reasons.items():
            self._reasons.setdefault(what, reason)

    @contextmanager
    def allow(self, what: str) -> Iterator[None]:
        """Note that something was lost if it cannot be written here, and go on, unless nothing answers at all."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if unreachable(error):
                raise
            self._reasons.setdefault(what, why_not(error, tracking_uri()))


def shown_uri() -> str:
    """The tracking URI without user, password and options."""
    return shown(tracking_uri())


def context_tags() -> dict[str, str]:
    """User, source and commit, in MLflow's tags, and the version of the package; no passwords of a repository's URL."""
    from mlflow.tracking.context.registry import resolve_tags

    tags = {name: hide(str(value), "") for name, value in resolve_tags().items()}
    return {**tags, "ifmmin.version": package_version()}


def experiment_id(client: "MlflowClient", name: str) -> str:
    """MLflow's id of an experiment, which is created if missing and restored if deleted."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"}))
        except MlflowException:  # another driver was faster
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
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


def log_note(client: "MlflowClient", run_id: str, text: str) -> None:
    """The description of a run; of a text that is too long for MLflow the first lines."""
    if len(text) > _NOTE_LENGTH:
        text = f"{text[: _NOTE_LENGTH - 100].rpartition(chr(10))[0]}\n\n(the whole table is in table.md)"
    client.set_tag(run_id, _NOTE, text)


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
    # Two processes that make the tables of a new database at once break it.
    with alone_on_this_machine(tracking_uri()):
        return MlflowClient()


def _reach_loopback_directly() -> None:
    """Have no proxy asked for this machine itself; requests and urllib read these variables at every call."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if known.strip() == "*" or not any(re.fullmatch("(https?|all)_proxy", name, re.I) for name in os.environ):
        return
    names = [name.strip() for name in known.split(",") if name.strip()]
    everything = ",".join(dict.fromkeys([*names, *_LOOPBACK]))
    os.environ.update(no_proxy=everything, NO_PROXY=everything)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
