"""The temporary folder of a Ray that is started here: one that can be written, and whose sockets have short paths."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ifmmin.data.errors import UserError

SOCKET_PATH = 107 if sys.platform.startswith("linux") else 103
"""The longest path of a socket, in bytes; a fact of the operating system."""

LONGEST = SOCKET_PATH - len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""The longest path of a folder in which Ray can make its sockets, in bytes."""

FALLBACKS = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


@contextmanager
def ray_folder() -> Iterator[str | None]:
    """The folder for a Ray to be started: None for Ray's default, else a short one that is removed afterwards.

    Raises:
        UserError: RAY_TMPDIR names a folder that does not do, or there is none that does.
    """
    named = os.environ.get("RAY_TMPDIR")
    default = Path(named or os.environ.get("TMPDIR") or "/tmp")
    if not (problem := problem_with(default)):
        yield None
        return
    if named:
        raise UserError(
            f"RAY_TMPDIR={named} cannot be Ray's temporary folder: it {problem}; set RAY_TMPDIR to a folder on this "
            f"machine that can be written and whose path has at most {LONGEST} bytes."
        )
    folder = tempfile.mkdtemp(prefix="ifmmin-", dir=first_usable(FALLBACKS))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def problem_with(folder: Path) -> str | None:
    """What keeps Ray from having its temporary folder in this one; None if nothing does."""
    if len(os.fsencode(folder.absolute())) > LONGEST:
        return f"has a path of more than {LONGEST} bytes, which is too long for Ray's sockets"
    sessions = folder / "ray"
    existing = next(path for path in (sessions, folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return f"cannot be written ({existing})"
    return None


def first_usable(folders: Sequence[Path]) -> Path:
    """The first folder in which a short temporary folder can be made.

    Raises:
        UserError: there is none.
    """
    for folder in folders:
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return folder
    tried = ", ".join(map(str, folders))
    raise UserError(
        f"Ray needs a temporary folder, and none of {tried} can be written; set RAY_TMPDIR to a folder on this machine "
        f"that can be written and whose path has at most {LONGEST} bytes."
    )
