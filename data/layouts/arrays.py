"""The arrays of a layout: NumPy files, and the features of utterances joined to one array."""

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.audit import some
from ifmmin.data.corpus import Sequences
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.files import check_file


def read_array(file: Path) -> NDArray[np.generic]:
    """The array in a file; nothing is unpickled.

    Raises:
        FileNotFoundError: it is missing.
        CorpusError: it is not a plain NumPy file.
    """
    check_file(file, "NumPy")
    try:
        with warnings.catch_warnings(action="ignore"):  # about headers that Python 2 has written
            array: NDArray[np.generic] = np.load(file, allow_pickle=False)
    except Exception as error:  # a damaged header can raise almost anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "allow_pickle" in reason:
            raise CorpusError(
                f"{file} holds Python objects, which are not read; save plain text or numbers instead, as in "
                "np.save(file, np.array(values.tolist()))."
            ) from None
        raise CorpusError(f"{file} is not a readable NumPy file ({reason}); export it again.") from None
    return array


def check_widths(source: str, names: Sequence[str], widths: Sequence[int]) -> None:
    """Refuse utterances that differ in their number of features.

    Raises:
        CorpusError: some have another number than most, or all have none.
    """
    counts = Counter(widths)
    if len(counts) > 1:
        (usual, _), (other, _) = counts.most_common(2)
        odd = [name for name, width in zip(names, widths, strict=True) if width != usual]
        raise CorpusError(
            f"{source} has {usual} features for most utterances, but {other} features for {some(odd)}; they must agree."
        )
    if 0 in counts:
        raise CorpusError(f"{source}: the sequences have no features; export them again.")


def concatenate(parts: Sequence[Any]) -> Sequences:
    """The features of all utterances as float32; numbers that are too large for it become infinite.

    Args:
        parts: arrays or datasets of HDF5 (time, features), equally wide; each is read when it is copied.
    """
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    values = np.empty((int(offsets[-1]), parts[0].shape[1]), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for part, start in zip(parts, offsets, strict=False):
            values[start : start + len(part)] = part
    return Sequences(values, offsets)
