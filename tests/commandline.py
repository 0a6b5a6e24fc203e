"""The command line in a process of its own, as users type it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.gate import PATIENCE_S, Gate, wait_until

RUN = ("run", "demo", "--corpus", "small", "--systems", "if-mmin", "--set", "epochs=2", "--workers", "2")


def start(folder: Path, *arguments: str, gate: Gate | None = None) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")} | {"COLUMNS": "100"}
    return subprocess.Popen(
        [sys.executable, "-m", "ifmmin", *arguments],
        cwd=folder,
        env=environment | dict([gate.variable] if gate else []),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_take_ctrl_c,
    )


def _take_ctrl_c() -> None:
    """As in a terminal, wherever the tests run: a shell's background jobs ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, *arguments)
    output, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output, errors


def completed(folder: Path) -> dict[Path, int]:
    """When each completed stage was written."""
    return {file: file.stat().st_mtime_ns for file in (folder / "ifmmin-store" / "stages").glob("*/stage.json")}


def wait_at(gate: Gate, folder: Path, process: "subprocess.Popen[str]", stages: int) -> None:
    """Let a driver's stages through the gate until that many are complete and the next one waits."""
    gate.admit(stages - len(completed(folder)))
    wait_until(
        lambda: process.poll() is not None or (len(completed(folder)) == stages and gate.waiting() > 0),
        lambda: f"{len(completed(folder))} of {stages} stages are complete, {gate.waiting()} wait",
    )
    assert process.poll() is None, process.communicate()
