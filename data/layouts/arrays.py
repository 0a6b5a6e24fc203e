"""The arrays of a layout: NumPy files, and the features of utterances joined to one array."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.corpus import Sequences
from ifmmin.data.errors import CorpusError, listed
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
    if not is_text_or_number(array):
        raise CorpusError(f"{file} is damaged (it has text that is not Unicode); export it again.")
    return array


def is_text_or_number(array: NDArray[Any]) -> bool:
    """Whether all text in an array, if it is text, consists of characters of Unicode; damaged bytes need not."""
    if array.dtype.kind != "U" or not array.itemsize:
        return True
    codes = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(-1).view(np.uint32)
    return not ((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))).any()


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
            f"{source} has {usual} features for most utterances, but {other} features for "
            f"{listed(odd)}; they must agree."
        )
    if 0 in counts:
        raise CorpusError(f"{source}: the sequences have no features; export them again.")


def concatenate(parts: Iterable[NDArray[Any]], lengths: Sequence[int], width: int) -> Sequences:
    """The features of all utterances as float32; numbers that are too large for it become infinite.

    Args:
        parts: the features (time, features) of each utterance; one is held at a time.
        lengths, width: numbers of time steps and features of the parts.

    Raises:
        CorpusError: they do not fit into memory.
    """
    size = (sum(lengths), width)
    try:
        offsets = np.cumsum([0, *lengths], dtype=np.int64)
        values = np.empty(size, np.float32)
    except (MemoryError, OverflowError, ValueError):
        raise CorpusError(
            f"The features of a modality, {size[0]:,} time steps of {width:,} features, do not fit into memory; import "
            "the corpus on a machine with more, or check the files."
        ) from None
    with np.errstate(over="ignore", invalid="ignore"):
        for part, start, end in zip(parts, offsets[:-1], offsets[1:], strict=True):
            values[start:end] = part
    return Sequences(values, offsets)
