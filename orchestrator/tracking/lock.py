"""One driver at a time: what several drivers of a store must not do to MLflow at once."""

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ifmmin.orchestrator.store import Store

PATIENCE_S = 120.0
"""After this long the holder is presumed stuck."""


@contextmanager
def alone(store: Store, what: str) -> Iterator[None]:
    """Keep other drivers that use the same store out of this context.

    Where no lock can be had (a bucket that other machines use too, a file system without locks), nothing is kept out;
    `Tracker.finish` then joins what was written twice.

    Args:
        what: is locked; others may lock something else of the same store.
    """
    in_store = [Path(store.location) / f"{what}.lock"] if store.root.local else []
    with _hold([*in_store, _on_this_machine(store.location, what)]):
        yield


@contextmanager
def alone_on_this_machine(uri: str) -> Iterator[None]:
    """Keep other processes of this machine that use the same address of MLflow out of this context."""
    with _hold([_on_this_machine(uri, "mlflow")]):
        yield


def _on_this_machine(name: str, what: str) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"ifmmin-{os.getuid()}-{digest}-{what}.lock"


@contextmanager
def _hold(candidates: Sequence[Path]) -> Iterator[None]:
    """Hold the first of these locks that can be opened."""
    lock = next((lock for path in candidates if (lock := _open(path)) is not None), None)
    if lock is None:
        yield
        return
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _take(lock) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield
    finally:
        os.close(lock)  # which also unlocks


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return None


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
