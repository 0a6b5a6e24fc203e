"""Reading the features in a layout of tables and arrays: a NumPy file for each utterance, or a Parquet file for all."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from ifmmin.data.corpus import Sequences
from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.layouts.arrays import read_array
from ifmmin.data.layouts.files import check_file
from ifmmin.data.layouts.naming import check_names, find_names
from ifmmin.data.layouts.spreadsheet import check_columns, read_text_column
from ifmmin.data.modalities import AVT, letters_of

_AT_ONCE = 32
"""Utterances of a Parquet file that are decoded at once."""

_BUFFER = 1 << 20


def read_modality(root: Path, modality: str, names: Sequence[str]) -> list[NDArray[np.float32] | None]:
    """One modality's features of these utterances, (time, features); None where an utterance lacks it or has no frames.

    Raises:
        CorpusError: a file is damaged, there are both forms, an utterance's file has a name that only looks like the
            utterance's, or utterances differ in their number of features.
    """
    file = _parquet_of(root, modality)
    parts = _from_parquet(file, names) if file else _from_folder(root, modality, names)
    widths = Counter(part.shape[1] for part in parts if part is not None)
    if len(widths) > 1:
        (usual, _), *_, (rarest, _) = widths.most_common()
        odd = [n for n, part in zip(names, parts, strict=True) if part is not None and part.shape[1] == rarest]
        raise CorpusError(
            f"{root}: some utterances have {rarest} features of modality {modality} ({listed(odd, most=3)}) and "
            f"others {usual}; export them again."
        )
    return parts


def concatenate(parts: Sequence[NDArray[np.float32] | None]) -> Sequences:
    """The sequences of all utterances, None for one without frames; no copy if they lie one after another in memory.

    So they do if a Parquet file lists utterances in the order of the table; then a corpus is in memory once.
    """
    present = [part for part in parts if part is not None]
    offsets = np.cumsum([0, *(0 if part is None else len(part) for part in parts)], dtype=np.int64)
    if not present:
        return Sequences(np.zeros((0, 0), np.float32), offsets)
    shape = (int(offsets[-1]), present[0].shape[1])
    starts = np.array([part.ctypes.data for part in present])
    before = np.cumsum([0, *map(len, present)])[:-1]
    buffer = present[0].base
    if isinstance(buffer, np.ndarray) and np.array_equal(starts, starts[0] + before * shape[1] * buffer.itemsize):
        first = (int(starts[0]) - buffer.ctypes.data) // buffer.itemsize
        return Sequences(buffer[first : first + shape[0] * shape[1]].reshape(shape), offsets)
    return Sequences(np.concatenate(present), offsets)


def modalities_in(root: Path) -> list[str]:
    """The letters of the modalities that have features here: those of speech, face and transcript first."""
    letters = {file.stem for file in root.glob("?.parquet")}
    letters |= {folder.name for folder in root.glob("?") if any(folder.rglob("*.npy"))}
    known = letters_of(AVT)
    return [*(m for m in known if m in letters), *sorted(m for m in letters - set(known) if "a" <= m <= "z")]


def names_in(root: Path, modality: str) -> list[str]:
    """The names of the utterances that have features of a modality; those of folders in its folder are part of them.

    Raises:
        CorpusError: a file is damaged, or there are both forms.
    """
    if file := _parquet_of(root, modality):
        with _readable(file), _open(file) as source:
            return _names(file, source)
    # Listed, because a file system may find a file by a name that differs in case or composition, or may not.
    files = [file for file in (root / modality).rglob("*.npy") if not file.name.startswith("._")]  # of macOS
    return [file.relative_to(root / modality).as_posix().removesuffix(".npy") for file in files]


def _parquet_of(root: Path, modality: str) -> Path | None:
    file = root / f"{modality}.parquet"
    if file.is_file() and (root / modality).is_dir():
        raise CorpusError(f"{root} contains both {file.name} and the folder {modality}; keep the one to use.")
    return file if file.is_file() else None


def _from_folder(root: Path, modality: str, names: Sequence[str]) -> list[NDArray[np.float32] | None]:
    folder = root / modality
    matches = find_names(names, names_in(root, modality), str(folder))
    return [_from_file(folder / f"{matches[name]}.npy", name) if name in matches else None for name in names]


def _from_file(file: Path, name: str) -> NDArray[np.float32] | None:
    values = read_array(file)
    if values.shape[:1] == (0,):
        return None
    if values.ndim != 2 or values.dtype.kind not in "iuf" or 0 in values.shape:
        raise CorpusError(f"{file}: utterance {name} must hold numbers (time, features), not {values.shape}.")
    return _as_float32(values)


def _from_parquet(file: Path, names: Sequence[str]) -> list[NDArray[np.float32] | None]:
    parts: list[NDArray[np.float32] | None] = [None] * len(names)
    with _readable(file), _open(file) as source:
        available = _names(file, source)
        matches = find_names(names, available, str(file))
        places = {matches[name]: index for index, name in enumerate(names) if name in matches}
        buffer = np.empty(_count_values(source), np.float32)
        start = end = 0
        for batch in source.iter_batches(_AT_ONCE, columns=["frames"], use_threads=False):
            held = available[start : start + len(batch)]
            start += len(batch)
            wanted = batch.column(0).filter(pa.array([name in places for name in held]))
            held = [name for name in held if name in places]
            for name, part in zip(held, _arrays(file, held, wanted), strict=True):
                if part is not None:
                    place = buffer[end : end + part.size].reshape(part.shape)
                    place[:] = part
                    parts[places[name]] = place
                    end += part.size
    return parts


def _count_values(source: pa.parquet.ParquetFile) -> int:
    """An upper bound of how many numbers the column `frames` contains."""
    groups = [source.metadata.row_group(index) for index in range(source.num_row_groups)]
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    return sum(column.num_values for column in columns if column.path_in_schema.split(".")[0] == "frames")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{file} cannot be read ({str(error).splitlines()[0]}); export it again.") from None


def _open(file: Path) -> pa.parquet.ParquetFile:
    check_file(file, "Parquet")
    return pa.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)


def _names(file: Path, source: pa.parquet.ParquetFile) -> list[str]:
    check_columns(file, source.schema_arrow.names, ["utterance", "frames"])
    names = [name or "" for name in read_text_column(file, source, "utterance")]
    check_names(names, str(file))
    return names


def _arrays(file: Path, names: Sequence[str], frames: pa.Array) -> Iterator[NDArray[np.float32] | None]:
    """The features of some utterances from lists of lists, views of one array."""
    try:
        steps = pc.list_value_length(frames).fill_null(0).to_numpy(zero_copy_only=False)
        frames = frames.flatten()
        if not len(frames):
            yield from (None for _ in names)
            return
        widths = pc.list_value_length(frames)
        values = frames.flatten()
    except (pa.ArrowNotImplementedError, AttributeError):  # no lists
        raise CorpusError(f"{file}: the frames of an utterance must be lists of lists of numbers.") from None
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise CorpusError(f"{file}: the frames of an utterance must be numbers, not {values.type}.")
    missing = values.is_null().to_numpy(zero_copy_only=False)
    widths = widths.fill_null(0).to_numpy(zero_copy_only=False)
    numbers = _as_float32(values.fill_null(0).to_numpy(zero_copy_only=False))
    ends, value_ends = np.cumsum([0, *steps]), np.cumsum([0, *widths])
    for name, first, last in zip(names, ends, ends[1:], strict=False):
        if first == last:
            yield None
            continue
        begin, end, width = value_ends[first], value_ends[last], widths[first]
        if width == 0 or (widths[first:last] != width).any() or missing[begin:end].any():
            raise CorpusError(f"{file}: the frames of utterance {name} must be lists of equally many numbers.")
        yield numbers[begin:end].reshape(-1, width)


def _as_float32(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """A copy; numbers that are too large become infinite, which the audit finds."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(values, dtype=np.float32)
