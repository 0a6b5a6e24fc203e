"""Reading the tables that people write, in CSV, TSV or Parquet: every cell is text, whatever it looks like.

Only fractions are read as numbers, for they are measurements and not names, except in the columns of `NAMES`.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet

from ifmmin.data.errors import CorpusError, nearest
from ifmmin.data.layouts.files import check_file
from ifmmin.data.layouts.naming import text_of

if TYPE_CHECKING:
    import _csv

FORMATS = ("csv", "tsv", "parquet")

NAMES = frozenset(["utterance", "label", "speaker", "fold", "set"])
"""Columns that hold names even where these look like fractions, such as speaker 1.1."""

SEPARATORS = {"csv": ",;\t|", "tsv": "\t,;|"}
"""What may be between cells; of those that make most columns, the first."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks; the one of UTF-32 begins like that of UTF-16."""

_FRACTION = re.compile(r"[-+]?\d+[.,]\d+", re.ASCII)


def find_table(root: Path, name: str) -> Path | None:
    """The file of a table in a folder, None if there is no file of that name.

    Raises:
        CorpusError: the folder is missing, or holds the table in several formats or one that cannot be read.
    """
    if not root.is_dir():
        raise CorpusError(f"{root} is not a folder; name the folder that holds the tables.")
    files = [file for suffix in FORMATS if (file := root / f"{name}.{suffix}").is_file()]
    if len(files) > 1:
        raise CorpusError(f"{root} contains both {files[0].name} and {files[1].name}; keep the one to use.")
    if files:
        return files[0]
    similar = sorted(file.name for file in root.iterdir() if file.stem.strip().casefold() == name and file.is_file())
    if similar:
        raise CorpusError(
            f"{root} contains {similar[0]}, but the table must be called {name}.csv, {name}.tsv or {name}.parquet; "
            "rename it, or save it as CSV (UTF-8)."
        )
    return None


def read_table(file: Path, columns: Iterable[str]) -> pa.Table:
    """A table whose columns are text, null where a cell is empty; or float64, if they hold fractions.

    Nested columns of Parquet, such as lists, are left as they are. Rows without any text are left out.

    Args:
        columns: those it must have.

    Raises:
        CorpusError: the file cannot be read, or lacks a column or has one twice.
    """
    if file.suffix == ".parquet":
        check_file(file, "Parquet")
        table = _read_parquet(file)
    else:
        check_file(file)
        table = _read_csv(file)
    check_columns(file, table.column_names, columns)
    return table


def check_columns(file: Path, present: Sequence[str], columns: Iterable[str]) -> None:
    """Check the columns of a table.

    Raises:
        CorpusError: it lacks a column or has one twice.
    """
    if twice := [name for name, count in Counter(present).items() if count > 1]:
        raise CorpusError(f"{file} has the column {twice[0]} twice; rename or remove one.")
    lacking = [name for name in columns if name not in present]
    if lacking:
        raise CorpusError(f"{file} must have the column {lacking[0]}; {nearest(lacking[0], present)}")


def read_text_column(file: Path, source: pa.parquet.ParquetFile, column: str) -> list[str | None]:
    """A single column of a Parquet file as text."""
    return list(_as_text(file, column, source.read([column])[column]).to_pylist())


def _read_parquet(file: Path) -> pa.Table:
    try:
        with pa.parquet.ParquetFile(file) as source:
            check_columns(file, source.schema_arrow.names, ())
            table = source.read()
            columns = {
                name.strip(): _as_text(file, name, table[name])
                for name in table.column_names
                if not name.startswith("__index_level_")
            }
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{file} cannot be read ({str(error).splitlines()[0]}); export it again.") from None
    return pa.table(columns)


def _as_text(file: Path, name: str, column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if pa.types.is_nested(column.type):
        return column
    values = column.cast(pa.string()).to_pylist() if pa.types.is_temporal(column.type) else column.to_pylist()
    fractions = any(isinstance(value, float) and value == value and not value.is_integer() for value in values)
    if fractions and name.strip() not in NAMES:
        return pa.array(values, pa.float64())
    try:
        return pa.array(map(text_of, values), pa.string())
    except UnicodeDecodeError:
        raise CorpusError(f"{file}: the column {name} has a value that is not UTF-8 text; export it again.") from None


def _read_csv(file: Path) -> pa.Table:
    text = _decode(file)
    separators, lines = SEPARATORS[file.suffix.lstrip(".")], io.StringIO(text, newline="")
    before = 0
    if match := re.match(r'"?sep=(.)"?\r?\n', text):  # a declaration for Excel
        separators = match[1]
        lines.readline()
        before = 1
    start = lines.tell()
    separator = max(separators, key=lambda choice: len(_first_row(lines, start, choice)))
    lines.seek(start)
    rows = _rows(file, csv.reader(lines, delimiter=separator, strict=True), before)
    _, heading = next(rows, (0, []))
    cells = [_row(file, line, row, heading) for line, row in rows]
    names = [name.strip() for name in heading]
    kept = [index for index, name in enumerate(names) if name]  # pandas writes its index without a name
    check_columns(file, [names[index] for index in kept], ())
    return pa.table({names[index]: _csv_column(names[index], [row[index] for row in cells]) for index in kept})


def _first_row(lines: io.StringIO, start: int, separator: str) -> list[str]:
    lines.seek(start)
    try:
        return next((row for row in csv.reader(lines, delimiter=separator, strict=True) if any(row)), [])
    except csv.Error:
        return []


def _rows(file: Path, reader: "_csv.Reader", before: int) -> Iterator[tuple[int, list[str]]]:
    """The rows that contain text, each with the line that it begins on, after so many lines before."""
    line = before + 1
    try:
        for row in reader:
            if any(map(str.strip, row)):
                yield line, row
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise CorpusError(
            f"{file}, line {line}: the quotation marks are not right ({error}); write a cell that contains quotation "
            "marks, separators or line breaks in quotation marks, those in it twice."
        ) from None


def _row(file: Path, line: int, row: list[str], heading: list[str]) -> list[str]:
    if len(row) < len(heading) or any(map(str.strip, row[len(heading) :])):
        raise CorpusError(
            f"{file}, line {line}: the row has {len(row)} cells, but the heading has {len(heading)}; write a cell that "
            "contains a separator in quotation marks."
        )
    return row


def _csv_column(name: str, cells: Sequence[str]) -> pa.Array:
    texts = [cell if cell.strip() else None for cell in cells]
    if name in NAMES:
        return pa.array(texts, pa.string())
    present = [text.strip() for text in texts if text is not None]
    fractions = [text.replace(",", ".") for text in present if _FRACTION.fullmatch(text)]
    # A number that is written otherwise, such as 1.10, is a name.
    if len(fractions) == len(present) and all(repr(float(text)) == text for text in fractions):
        numbers = [None if text is None else float(text.replace(",", ".")) for text in texts]
        if any(number is not None and not number.is_integer() for number in numbers):
            return pa.array(numbers, pa.float64())
    return pa.array(texts, pa.string())


def _decode(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CorpusError(f"{file} cannot be read ({error.strerror}); check its permissions.") from None
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        raise CorpusError(
            f"{file} contains zero bytes, so it is not text, or in the encoding UTF-16 without a byte-order mark; save "
            "it as CSV (UTF-8)."
        )
    try:
        return content.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f"line {line}: " if encoding in (None, "utf-8-sig") else ""
        raise CorpusError(
            f"{file} is not in the encoding {(encoding or 'utf-8').upper()} ({where}{error.reason}); save it as CSV "
            "(UTF-8), or convert it with `iconv -f ENCODING -t UTF-8`, where ENCODING is latin1 or gb18030, say."
        ) from None
