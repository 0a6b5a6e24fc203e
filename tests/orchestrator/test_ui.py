import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from ifmmin.orchestrator.commands import ui
from ifmmin.orchestrator.tracking import pages
from ifmmin.orchestrator.tracking.client import TrackingError
from tests.gate import PATIENCE_S


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pages opened in the browser; MLflow is a server elsewhere, so that none is started here."""
    urls: list[str] = []
    monkeypatch.setattr("webbrowser.open", urls.append)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.invalid:5000/")
    monkeypatch.setenv("DISPLAY", ":0")
    return urls


def test_several_systems_are_compared(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "compared_runs", lambda _: ("7", ["first", "second"]))
    ui.command("paper", 5000, browser=True)
    (page,) = opened
    assert urllib.parse.unquote(page).startswith(
        'http://mlflow.invalid:5000/#/compare-runs?runs=["first", "second"]&experiments=["7"]&'
    )


def test_a_single_system_is_shown_by_itself(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "compared_runs", lambda _: ("7", ["only"]))
    ui.command("paper", 5000, browser=True)
    assert opened[0].startswith("http://mlflow.invalid:5000/#/experiments/7/runs/only?")


def test_the_address_is_printed_and_no_browser_opened_where_none_is_wanted(
    opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ui.command(None, 5000, browser=False)
    assert not opened
    assert capsys.readouterr().out.startswith("http://mlflow.invalid:5000/#/experiments?")


def test_no_browser_is_opened_without_a_display(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    ui.command(None, 5000, browser=True)
    assert not opened


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_a_port_in_use_is_reported_before_anything_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(pages.PagesError, match=f"Port {port} cannot be used .*; choose another with --port"):
            ui.command(None, port, browser=False)
    with pytest.raises(pages.PagesError, match="There is no port 70000"):
        ui.command(None, 70000, browser=False)


@pytest.mark.slow
def test_pages_are_served_until_interrupted(here: Path) -> None:
    """Slow: MLflow makes its database and starts its server."""
    with pytest.raises(TrackingError, match="no experiment 'demo'; run one first"):
        ui.command("demo", free_port(), browser=False)
    port = free_port()
    command = [sys.executable, "-m", "ifmmin", "ui", "--port", str(port), "--no-browser"]
    process = subprocess.Popen(command, cwd=here, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith(f"http://127.0.0.1:{port}/#/experiments")
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            assert b"MLflow" in answer.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, errors) == (0, "")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
