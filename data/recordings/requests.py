"""Recordings as a service receives them: files in base64, and text, for the extractors of a corpus."""

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ifmmin.data.corpus import Features, Provenance
from ifmmin.data.errors import UserError
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import RecordingError, source
from ifmmin.data.recordings.extractors import Extractor, ExtractorError, make_extractor

FILES = ("audio", "video")
COLUMNS = (*FILES, "text")
"""Of a request: the content of a file with sound, of one with pictures, and what is said in them."""


def extract_received(
    names: Sequence[str], columns: Mapping[str, Sequence[Any]], extractors: Mapping[str, Provenance]
) -> Features:
    """The features of utterances that a request has recordings of; None where there is nothing to extract from.

    Args:
        columns: by the names of `COLUMNS`, what the utterances have; None or NaN where they do not.
        extractors: by letter, those of the corpus.

    Raises:
        UserError: a recording cannot be used, or an extractor is not available here.
    """
    features: Features = {letter: [] for letter in extractors}
    for row, name in enumerate(names):
        with TemporaryDirectory() as folder:
            clip = _clip(Path(folder), name, {column: values[row] for column, values in columns.items()})
            for letter, how in extractors.items():
                extractor = _extractor(how.extractor, how.identity)
                if source(clip, extractor.reads) is None:
                    features[letter].append(None)
                    continue
                try:
                    features[letter].append(extractor.extract(clip))
                except RecordingError as error:
                    raise UserError(f"Utterance {name}: its recording {error} ({letter}).") from None
    return features


def _clip(folder: Path, name: str, cells: Mapping[str, Any]) -> Clip:
    files: dict[str, Path | None] = dict.fromkeys(FILES)
    for column in FILES:
        if (content := cells.get(column)) is not None and not _is_nan(content):
            files[column] = folder / column
            (folder / column).write_bytes(_decoded(name, column, content))
    text = cells.get("text")
    return Clip(name, files["audio"], files["video"], None if text is None or _is_nan(text) else str(text))


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _decoded(name: str, column: str, content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    try:
        return base64.b64decode(str(content), validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"Utterance {name}: {column} must be the content of a file in base64.") from None


@lru_cache(maxsize=8)
def _extractor(spec: str, identity: str) -> Extractor:
    extractor = make_extractor(spec)
    if extractor.identity() != identity:
        raise ExtractorError(f"Extractor {spec} is not the one that the model was trained with; install that one here.")
    return extractor
