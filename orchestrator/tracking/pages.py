"""MLflow's pages, served on this machine's loopback address."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.tracking.client import prepare_environment
from ifmmin.orchestrator.tracking.experiments import compared_runs
from ifmmin.orchestrator.tracking.faults import hide

HOST = "127.0.0.1"
START_S = 60.0
STOP_S = 5.0


class PagesError(UserError):
    """MLflow's pages cannot be shown."""


def page_of(experiment: str | None) -> str:
    """The address within MLflow 3's pages: one parent run, the comparison of several, or all experiments."""
    view = "workflowType=machine_learning"
    if experiment is None:
        return f"#/experiments?{view}"
    experiment_id, runs = compared_runs(experiment)
    if len(runs) == 1:
        return f"#/experiments/{experiment_id}/runs/{runs[0]}?{view}"
    if not runs:
        return f"#/experiments/{experiment_id}/runs?{view}"
    return f"#/compare-runs?runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([experiment_id]))}&{view}"


def check_free(port: int) -> None:
    """Check that a port of this machine can be used.

    Raises:
        PagesError: it cannot.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OverflowError:
            raise PagesError(f"There is no port {port}; choose one below 65536 with --port.") from None
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise PagesError(f"Port {port} cannot be used ({reason}); choose another with --port.") from None


@contextmanager
def serve(uri: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """MLflow's server, once it answers; it and the processes it starts end with the context."""
    prepare_environment()
    command = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--workers", "1"]
    # Job execution is a dozen processes for MLflow's language-model features. The address may hold a password, which
    # everybody on this machine could read among a process's arguments.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": uri}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(process, port)
            yield process
            _fail(process)
        except PagesError as error:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise PagesError(f"{error} ({hide(lines[-1].strip(), uri)}).") from None
        finally:
            _stop(process)


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            _fail(process)
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2),
        ):
            return
        time.sleep(0.2)
    raise PagesError(f"MLflow's pages did not answer within {START_S:.0f} seconds")


def _fail(process: "subprocess.Popen[bytes]") -> None:
    raise PagesError(f"MLflow's pages ended with status {process.wait()}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
