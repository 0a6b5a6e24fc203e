"""One set of the MMSA layout, checked: names, sentiment, and features without padding."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.audit import Finding
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.arrays import check_widths

FEATURES: dict[str, str] = {"a": "audio", "v": "vision", "t": "text"}


class FeatureSet:
    """One of the sets of the layout; its features are read when they are asked for.

    An utterance whose features are None, or of length 0, lacks the modality.

    Attributes:
        names: of the utterances.
        labels: their sentiment, NaN where it is not a number.
        sentiment_key: where the layout has the sentiment.
        problem: what an unusable utterance lacks.
        unusable: whether an utterance lacks its sentiment or a length, (utterances,).
        letters: of the modalities to read.
    """

    def __init__(
        self, file: Path, key: str, content: dict[str, Any], letters: tuple[str, ...], findings: list[Finding]
    ) -> None:
        self.where, self._key, self._content, self._findings = f"{file}, {key}", key, content, findings
        self.letters = letters
        self._keys = [FEATURES[letter] for letter in letters]
        self.names = [self._name(value) for value in self._iterate("id")]
        if not self.names:
            raise CorpusError(f"{self.where} has no utterances; every set of the MMSA layout needs some.")
        for key in self._keys:
            self._check_count(key, len(self._iterate(key)))
        self.sentiment_key = "regression_labels"
        if self.sentiment_key not in self._content and "labels" in self._content:
            self.sentiment_key = "labels"
        self.labels = self._read_labels()
        self._lengths = {modality: self._read_lengths(modality) for modality in letters}
        wrong = {self.sentiment_key: ~np.isfinite(self.labels)}
        for modality, lengths in self._lengths.items():
            if lengths is not None:
                with np.errstate(invalid="ignore"):
                    usable = np.isfinite(lengths) & (lengths >= 0) & (lengths == np.round(lengths))
                wrong[f"the lengths of {FEATURES[modality]}"] = ~usable
        self.unusable = np.any(list(wrong.values()), axis=0)
        self.problem = next((what for what, rows in wrong.items() if rows.any()), "")

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Import only some of the utterances."""
        if not rows.any():
            raise CorpusError(f"{self.where}: --leave-out would leave no utterance in this set; correct the file.")
        self.names = [name for name, kept in zip(self.names, rows, strict=True) if kept]
        self.labels = self.labels[rows]
        self._lengths = {m: None if lengths is None else lengths[rows] for m, lengths in self._lengths.items()}
        for key in self._keys:
            self._content[key] = [value for value, kept in zip(self._iterate(key), rows, strict=True) if kept]

    def take(self, modality: str) -> list[NDArray[Any]]:
        """The features (time, features) of each utterance without padding; they can be taken once."""
        key = FEATURES[modality]
        parts = self._plain(key)
        del self._content[key]
        check_widths(f"{self.where}: {key}", self.names, [part.shape[1] for part in parts])
        longest = np.array([len(part) for part in parts])
        lengths = self._lengths[modality]
        if lengths is None:
            padded = len(set(longest.tolist())) == 1
            return [part[: _without_padding(part)] if padded else part for part in parts]
        if (cut := lengths > longest).any():
            message = f"{key}: {cut.sum():,} lengths of {self._key} exceed the time steps of the features"
            self._findings.append(Finding("note", "lengths", f"{message}, and count as all of them"))
        ends = lengths.astype(np.int64)
        return [part[:end] for part, end in zip(parts, ends, strict=True)]

    def _plain(self, key: str) -> list[NDArray[Any]]:
        """The features of each utterance as an array of numbers with two dimensions."""
        values = self._get(key)
        shape = values.shape if isinstance(values, np.ndarray) and values.dtype.kind != "O" else None
        if shape is not None and (len(shape) != 3 or 0 in shape[1:] or values.dtype.kind not in "iuf"):
            raise CorpusError(f"{self.where}: {key} must be (utterances, time, features), not {shape} {values.dtype}.")
        if shape is not None:
            return list(values)
        values = self._iterate(key)
        parts = [_matrix(value) for value in values]
        for name, value, part in zip(self.names, values, parts, strict=False):
            if part is None and value is not None:
                raise CorpusError(
                    f"{self.where}: {key} of utterance {name} must hold numbers (time, features), equally many in each "
                    "time step."
                )
        width = next((part.shape[1] for part in parts if part is not None), 0)
        return [np.zeros((0, width)) if part is None else part for part in parts]

    def _read_labels(self) -> NDArray[np.float64]:
        key = self.sentiment_key
        values = self._numbers(key)
        if values is None or (values.size > len(self.names) and values.size % len(self.names) == 0):
            raise CorpusError(
                f"{self.where}: {key} must be finite numbers, one sentiment for each utterance, not "
                f"{kind_of(self._content[key])}; emotions and classes are not read from this layout."
            )
        self._check_count(key, len(values))
        if key == "labels" and ((values == np.round(values)) & (values >= 0)).all():
            raise CorpusError(
                f"{self.where}: labels are whole numbers from 0, and may be classes; store sentiment, negative below "
                "zero and positive above, as regression_labels."
            )
        return values

    def _read_lengths(self, modality: str) -> NDArray[np.float64] | None:
        """Time steps of each utterance, NaN where the layout has no number; None if it has no lengths."""
        key = f"{FEATURES[modality]}_lengths"
        if modality == "t" and self._content.get("text_bert") is not None:
            key = "text_bert"
            masks = _array(self._content[key])
            if masks.ndim != 3 or masks.shape[1] != 3 or masks.dtype.kind not in "iufb":
                raise CorpusError(f"{self.where}: text_bert must be (utterances, 3, time), not {masks.shape}.")
            lengths: NDArray[np.float64] | None = masks[:, 1].sum(1).astype(np.float64)
        elif key not in self._content:
            return None
        elif self._content[key] is None:
            message = f"{key} of {self._key} is None, so zeros at the end of {FEATURES[modality]} count as padding"
            self._findings.append(Finding("note", "lengths", message))
            return None
        else:
            lengths = self._numbers(key)
        if lengths is None:
            raise CorpusError(f"{self.where}: {key} must be whole numbers, one for each utterance.")
        self._check_count(key, len(lengths))
        return lengths

    def _numbers(self, key: str) -> NDArray[np.float64] | None:
        """Numbers from an array or a list, NaN where an element is None; None if there is anything else."""
        array = _array(self._iterate(key))
        if array.dtype.kind == "O":
            flat = [np.nan if value is None else value for value in array.reshape(-1).tolist()]
            if not all(isinstance(value, (int, float, np.number)) for value in flat):
                return None
            array = np.array(flat, dtype=np.float64)
        return array.reshape(-1).astype(np.float64) if array.dtype.kind in "iuf" else None

    def _name(self, value: Any) -> str:
        parts = _array(value).reshape(-1).tolist()
        known = (str, bytes, int, float) if len(parts) > 1 else (str, bytes, int)
        if not parts or not all(isinstance(part, known) for part in parts):
            raise CorpusError(f"{self.where}: id must be text, one name for each utterance.")
        try:
            name = "$_$".join(part.decode() if isinstance(part, bytes) else str(part) for part in parts)
            name.encode()  # which fails for half a surrogate pair
        except UnicodeError:
            raise CorpusError(f"{self.where}: an id is not UTF-8 text; store the ids as text.") from None
        if not name.strip():
            raise CorpusError(f"{self.where}: an id is empty; every utterance must have a name.")
        return name

    def _get(self, key: str) -> Any:
        if key not in self._content:
            raise CorpusError(
                f"{self.where} lacks '{key}'; the MMSA layout needs it, and here are {', '.join(self._content)}."
            )
        return self._content[key]

    def _iterate(self, key: str) -> list[Any]:
        values = self._get(key)
        if not isinstance(values, (list, tuple, np.ndarray)) or (isinstance(values, np.ndarray) and not values.ndim):
            raise CorpusError(f"{self.where}: {key} must be an array or a list of utterances, not {kind_of(values)}.")
        return list(values)

    def _check_count(self, key: str, count: int) -> None:
        if count != len(self.names):
            raise CorpusError(
                f"{self.where}: {key} has {count} utterances, but id has {len(self.names)}; export them again."
            )


def kind_of(value: object) -> str:
    """The kind of a value in a message: the shape and type of an array, or the name of its class."""
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__.lstrip("_")


def _array(value: Any) -> NDArray[Any]:
    """An array of numbers or text, or of objects (N,) where the elements differ in shape."""
    try:
        return np.asarray(value)
    except ValueError:
        array = np.empty(len(value), dtype=object)
        array[:] = [None if isinstance(part, np.ndarray) else part for part in value]
        return array


def _matrix(value: Any) -> NDArray[Any] | None:
    """The features (time, features) of an utterance; None if they are not numbers in this form."""
    try:
        matrix = np.asarray(value)
        matrix = matrix.astype(np.float64) if matrix.dtype.kind == "O" else matrix
    except (ValueError, TypeError):
        return None
    return matrix if matrix.ndim == 2 and matrix.dtype.kind in "iuf" else None


def _without_padding(part: NDArray[Any]) -> int:
    """Time steps up to the last that is not zero, at least one."""
    filled = np.flatnonzero((part != 0).any(1))
    return int(filled[-1]) + 1 if filled.size else 1
