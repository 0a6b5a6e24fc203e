"""Reading HDF5 files: what they contain by name, and in a sentence why one cannot be read."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.files import check_file


@contextmanager
def open_hdf5(file: Path) -> Iterator[h5py.File]:
    """A file, open for reading.

    Raises:
        FileNotFoundError: it is missing.
        CorpusError: it is not an HDF5 file, is damaged, or another program has it open.
    """
    check_file(file, "HDF5")
    try:
        with h5py.File(file, "r") as content:
            yield content
    except (OSError, RuntimeError, KeyError) as error:
        raise CorpusError(f"{file} {_problem(error)}.") from None


class Entry(NamedTuple):
    """What is known of a dataset without reading it; of a group both are None, as is the shape of a null dataset."""

    shape: tuple[int, ...] | None
    dtype: np.dtype[Any] | None


def contents(group: h5py.Group) -> dict[str, Entry]:
    """Every dataset and group below a group by its path, such as `name` or `session/name`; dead links are left out."""
    with _damage():
        return _walk(group)


def _walk(group: h5py.Group) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    seen = {group}
    open_groups = [("", group)]
    while open_groups:
        prefix, parent = open_groups.pop()
        for key in parent:
            child = parent.get(key)  # not kept: an open dataset takes some 30 kB
            path = prefix + (key.decode("latin1") if isinstance(key, bytes) else key)
            if isinstance(child, h5py.Dataset):
                entries[path] = Entry(child.shape, child.dtype)
            elif isinstance(child, h5py.Group):
                entries[path] = Entry(None, None)
                if child not in seen:  # a group can contain itself
                    seen.add(child)
                    open_groups.append((f"{path}/", child))
    return entries


def read(group: h5py.Group, path: str) -> NDArray[Any]:
    """The values of a dataset by its path in `contents`."""
    with _damage():
        entry = group.get(path)
        values: NDArray[Any] = (group[path.encode("latin1")] if entry is None else entry)[()]
        return values


@contextmanager
def _damage() -> Iterator[None]:
    """What h5py raises where it does not expect the damage of a file, as an error that `open_hdf5` explains."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise OSError(str(error)) from error


def _problem(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "unable to lock file" in text:
        if getattr(error, "errno", None) in (errno.EAGAIN, errno.EACCES):
            return (
                "is open in another program that writes to it; close it there, or wait for that program (if none has "
                "it open, set HDF5_USE_FILE_LOCKING=FALSE)"
            )
        return "cannot be locked on this file system; set HDF5_USE_FILE_LOCKING=FALSE, and import again"
    if "open for write" in text:
        return (
            "is open in another program that writes to it, or that program ended without closing it; close it there, "
            "or run `h5clear -s` on the file if no program has it open"
        )
    if "filter" in text or "plugin" in text:
        return f"is compressed in a way that h5py cannot read ({text}); rewrite it with `h5repack -f GZIP=4`"
    if "truncated" in text:
        return "is truncated, or another program still writes to it; wait for that program, or copy the file again"
    if "file signature not found" in text:
        return "is not an HDF5 file; check the path, or download or export it again"
    return f"is damaged, or another program writes to it ({text}); close it there, or copy or export it again"
