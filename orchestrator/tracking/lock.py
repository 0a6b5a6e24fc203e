"""One driver at a time: what several drivers of a store must not do to MLflow at once."""

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
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
    lock = _open(store, what)
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


def _open(store: Store, what: str) -> int | None:
    name = hashlib.sha256(store.location.encode()).hexdigest()[:16]
    in_store = [Path(store.location) / f"{what}.lock"] if store.root.local else []
    for path in (*in_store, Path(tempfile.gettempdir()) / f"ifmmin-{os.getuid()}-{name}-{what}.lock"):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            continue
    return None


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
