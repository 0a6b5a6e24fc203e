"""A gate between Ray's workers and the store: a test lets stages through one by one, and knows where all others stand.

A stage stops at the gate after its first checkpoint, or, if it writes none, before its result is written.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ifmmin.model.history import Checkpoint
from ifmmin.orchestrator.planning.stage import Stage, StageResult
from ifmmin.orchestrator.store import Store

T = TypeVar("T")

FOLDER = "IFMMIN_TEST_GATE"
PATIENCE_S = 300.0
"""How long a test waits for a state before it fails: many times what a slow machine needs."""


def wait_until(state: Callable[[], T], failure: Callable[[], str] = lambda: "") -> T:
    """Return the state as soon as it is a true one.

    Args:
        failure: what to say if it never is.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (reached := state()):
        assert time.monotonic() < deadline, failure()
        time.sleep(0.02)
    return reached


class Gate:
    """The side of the test. Every driver gets a gate of its own, so that no worker of an earlier one passes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "permits").mkdir(parents=True)
        (folder / "waiting").mkdir()
        self._permits = 0

    @property
    def variable(self) -> tuple[str, str]:
        """The environment variable, with its content, that makes the workers of a driver stop at this gate."""
        runtime = {
            "worker_process_setup_hook": f"{__name__}.{stop_at_gate.__name__}",
            "env_vars": {FOLDER: str(self.folder), "PYTHONPATH": str(Path(__file__).parents[1])},
        }
        return "RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": runtime})

    def admit(self, stages: int) -> None:
        """Let that many stages through."""
        for _ in range(stages):
            self._permits += 1
            (self.folder / "permits" / str(self._permits)).touch()

    def open(self) -> None:
        """Let all stages through from now on."""
        (self.folder / "open").touch()

    def waiting(self) -> int:
        """How many stages have stopped and wait, those of workers that were killed while they waited included."""
        return len(list((self.folder / "waiting").iterdir()))


def stop_at_gate() -> None:
    """Make the stages of this worker stop at the gate."""
    folder = Path(os.environ[FOLDER])
    admitted: set[str] = set()

    def pass_through(key: str) -> None:
        if key in admitted:
            return
        mark = folder / "waiting" / f"{key}-{os.getpid()}"
        mark.touch()
        while not _takes_permit(folder):
            time.sleep(0.02)
        mark.unlink()
        admitted.add(key)

    write_stage, write_checkpoint = Store.write_stage, Store.write_checkpoint

    def write_stage_with_permit(store: Store, stage: Stage, result: StageResult) -> None:
        pass_through(stage.key)
        write_stage(store, stage, result)

    def write_checkpoint_and_wait(store: Store, key: str, checkpoint: Checkpoint) -> None:
        write_checkpoint(store, key, checkpoint)
        pass_through(key)

    Store.write_stage = write_stage_with_permit  # type: ignore[assignment, method-assign]
    Store.write_checkpoint = write_checkpoint_and_wait  # type: ignore[assignment, method-assign]


def _takes_permit(folder: Path) -> bool:
    if (folder / "open").exists():
        return True
    for permit in (folder / "permits").iterdir():
        try:
            permit.unlink()
        except FileNotFoundError:  # another worker was faster
            continue
        return True
    return False
