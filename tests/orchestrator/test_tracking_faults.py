"""MLflow that is not as we left it: what is wrong is said before anything is computed, and costs little."""

import os
import shutil
import socket
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from mlflow.tracking import MlflowClient
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from ifmmin.orchestrator.execution.events import Finished
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.reporting.report import Report
from ifmmin.orchestrator.tracking.client import TrackingError, check
from ifmmin.orchestrator.tracking.experiments import Tracker
from ifmmin.orchestrator.tracking.faults import hide, shown
from ifmmin.orchestrator.tracking.pages import serve
from ifmmin.orchestrator.workflows import run_stages
from tests.gate import PATIENCE_S
from tests.orchestrator.conftest import analysis_of, tree, with_changes


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder where MLflow was never used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def address(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the tracking URI."""
    assert here
    return lambda uri: monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def refusal() -> str:
    with pytest.raises(TrackingError) as raised:
        check("demo")
    assert "[...]" not in str(raised.value)
    return str(raised.value)


@contextmanager
def served(answer: Callable[[Request], Response]) -> Iterator[str]:
    """The address of a server on this machine."""
    server = make_server("127.0.0.1", 0, Request.application(answer), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_forgotten_folder_of_runs_is_refused_with_the_variable_to_set(here: Path) -> None:
    (here / "mlruns" / "0").mkdir(parents=True)
    (here / "mlruns" / "0" / "meta.yaml").touch()
    assert refusal() == (
        f"MLflow at file://{here}/mlruns is a folder of files, which MLflow no longer writes; set "
        "MLFLOW_TRACKING_URI=sqlite:///mlflow.db, and run 'mlflow migrate-filestore' to take earlier runs along."
    )


def test_a_file_address_is_refused_with_the_variable_to_set(address: Callable[[str], None]) -> None:
    address("file:./runs")
    assert "MLflow at file:./runs is a folder of files" in refusal()
    assert "set MLFLOW_TRACKING_URI=sqlite:///mlflow.db" in refusal()


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        (
            "f5a4f2784254",
            "is a database of an older MLflow; make a copy of it, then run mlflow db upgrade 'sqlite:///{}'",
        ),
        ("0123456789ab", "is a database of a newer MLflow; run pip install --upgrade mlflow"),
    ],
)
def test_a_database_of_another_mlflow_is_refused_with_the_command_to_run(
    here: Path, address: Callable[[str], None], client: MlflowClient, version: str, remedy: str
) -> None:
    client.search_experiments()
    shutil.copy(client.tracking_uri.removeprefix("sqlite:///"), here / "old.db")
    with sqlite3.connect(here / "old.db") as database:
        database.execute("update alembic_version set version_num = ?", (version,))
    database.close()
    address(f"sqlite:///{here}/old.db")
    assert remedy.format(here / "old.db") in refusal()


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        (
            "mysql://me:t0p%2Fsecret@127.0.0.1/m",
            "needs the Python module MySQLdb, .* pip install 'mysqlclient', or set MLF",
        ),
        ("mssql+pyodbc://me:t0p@secret@127.0.0.1/m", "needs the Python module pyodbc, .*; run pip install 'pyodbc'"),
        (
            "nonsense://me:t0p/secret@127.0.0.1/m",
            "is not an address that MLflow understands; set MLFLOW_TRACKING_URI to",
        ),
        ("http://me:t0psecret@127.0.0.1:9", "connection refused.*; start it, or set MLFLOW_TRACKING_URI=sqlite"),
    ],
)
def test_a_missing_driver_or_server_is_named_with_its_remedy_and_no_password_is_shown(
    address: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, uri: str, remedy: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address(uri)
    with pytest.raises(TrackingError, match=remedy) as raised:
        check("demo")
    everything = "".join(traceback.format_exception(raised.value))
    assert "t0p" not in everything
    assert "secret" not in everything.replace("topsecret", "")


def test_a_database_that_is_read_only_is_refused(
    here: Path, address: Callable[[str], None], client: MlflowClient
) -> None:
    client.search_experiments()
    shutil.copy(client.tracking_uri.removeprefix("sqlite:///"), here / "kept.db")
    address(f"sqlite:///file:{here}/kept.db?mode=ro&uri=true")
    assert "cannot be reached or written" in refusal()
    assert "make it writable, or set MLFLOW_TRACKING_URI=sqlite:///mlflow.db" in refusal()


def test_a_server_of_another_kind_is_refused(address: Callable[[str], None]) -> None:
    with served(lambda _: Response("<html>not here</html>", 404)) as uri:
        address(uri)
        assert refusal().startswith(f"MLflow at {uri} does not answer as an MLflow server does (status 404); set ")


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_a_password_is_refused_with_the_variables_to_set(
    address: Callable[[str], None], status: int
) -> None:
    with served(lambda _: Response("no", status)) as uri:
        address(uri)
        assert (
            f"refuses access (status {status}); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refusal()
        )


def test_nothing_is_computed_for_an_mlflow_that_cannot_be_written(
    address: Callable[[str], None], finished_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    address("file:./runs")
    monkeypatch.setattr("ifmmin.orchestrator.workflows._consume", lambda *_: pytest.fail("stages ran"))
    experiment = with_changes(finished_experiment, seeds="7")
    with pytest.raises(TrackingError, match="is a folder of files"):
        run_stages(experiment)


def test_whatever_mlflow_raises_computing_goes_on(
    address: Callable[[str], None], finished_experiment: Experiment
) -> None:
    for uri in ("file:./runs", "mysql://127.0.0.1/mlflow", "nonsense://127.0.0.1"):
        address(uri)
        tracker = Tracker(finished_experiment)
        for run in finished_experiment.plan.runs:
            tracker.take(Finished(finished_experiment.plan.stages[run.evaluation], 1.0))


def test_this_machine_is_never_asked_through_a_proxy(
    address: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[str] = []

    def answer(request: Request) -> Response:
        paths.append(request.path)
        return Response("no", 404)

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "example.org")
    with served(answer) as uri:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        address(uri)
        refusal()
    assert paths
    assert os.environ["NO_PROXY"].startswith("example.org,localhost,127.0.0.1")


@pytest.mark.parametrize(
    ("uri", "visible"),
    [
        ("postgresql+psycopg://me:pa/ss@wo@host:5432/mlflow?sslpassword=x", "postgresql+psycopg://host:5432/mlflow"),
        ("http://token@host:5000", "http://host:5000"),
        ("http://host:5000/prefix", "http://host:5000/prefix"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_user_password_and_options(uri: str, visible: str) -> None:
    assert shown(uri) == visible


def test_a_password_is_hidden_however_it_is_written() -> None:
    uri = "postgresql://me:p%40ssword@host/mlflow"
    for text in ("p@ssword", "p%40ssword", "me:p%40ssword", "https://user:other@git.example.org/x"):
        hidden = hide(f"cannot use {text} there", uri)
        assert "ssword" not in hidden
        assert "other" not in hidden


@pytest.fixture
def older_server(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """MLflow's server, but without logged models and dataset inputs, as its second version was."""
    port = free_port()

    def answer(request: Request) -> Response:
        if "logged-models" in request.path or request.path.endswith("log-inputs"):
            return Response("no such page", 404)
        address = f"http://127.0.0.1:{port}{request.full_path}"
        headers = {"Content-Type": request.headers.get("Content-Type", "")}
        reply = requests.request(request.method, address, data=request.get_data(), headers=headers, timeout=PATIENCE_S)
        return Response(reply.content, reply.status_code, content_type=reply.headers.get("Content-Type"))

    with suppress(KeyboardInterrupt), serve(f"sqlite:///{here}/mlflow.db", port), served(answer) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        yield MlflowClient(uri)
        raise KeyboardInterrupt  # ends the pages


@pytest.mark.slow  # for its figures, and MLflow's server
def test_what_a_server_cannot_keep_costs_that_alone(
    older_server: MlflowClient, finished_experiment: Experiment, report: Report
) -> None:
    check("demo")
    lost = Tracker(finished_experiment).finish(report)
    assert "has the runs, but not" in lost
    assert "the corpus as a dataset" in lost
    assert "trained models: its version is too old for this (status 404)" in lost
    parent, children = tree(older_server, "demo")
    assert [run.info.status for run in (parent, *children)] == 4 * ["FINISHED"]
    assert {"report.html", "table.csv"} <= {file.path for file in older_server.list_artifacts(parent.info.run_id)}
    assert not Tracker(finished_experiment).is_current(report.analysis)  # a newer server will have the rest


@pytest.mark.slow  # for its figures
def test_an_artifact_store_that_cannot_be_written_costs_the_artifacts(
    client: MlflowClient, finished_experiment: Experiment, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/mlflow")

    experiment = with_changes(finished_experiment, name="kept")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", refuse)
        lost = Tracker(experiment).finish(replace(report, analysis=analysis_of(experiment)))
    assert "has the runs, but not tables, figures and predictions: permission denied" in lost
    parent, _ = tree(client, "kept")
    assert (parent.info.status, "test/wa/a" in parent.data.metrics) == ("FINISHED", True)

    assert not Tracker(experiment).finish(replace(report, analysis=analysis_of(experiment)))
    assert "table.csv" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert Tracker(experiment).is_current(analysis_of(experiment))
