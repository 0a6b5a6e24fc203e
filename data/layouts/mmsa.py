"""The pickle layout of the MMSA toolkit, in which MOSI, MOSEI and CH-SIMS are shared.

    {"train": SET, "valid": SET, "test": SET}, and in each SET, of N utterances
    audio, vision, text                 (N, time, features), zero-padded
    audio_lengths, vision_lengths       time steps of each (optional)
    text_bert                           (N, 3, time), whose row 1 is 1 where the text has a word (optional)
    id                                  N names such as "video$_$clip"
    regression_labels                   (N,), sentiment: negative below zero, positive above

Reading a pickle can execute arbitrary code. This reader accepts only the
parts of NumPy arrays and containers, and refuses everything else before it is executed.
"""

import pickle
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.audit import Finding, audit
from ifmmin.data.corpus import SETS, Corpus, Fold, Sequences
from ifmmin.data.errors import CorpusError
from ifmmin.data.modalities import AVT

FEATURES: dict[str, str] = {"a": "audio", "v": "vision", "t": "text"}
SPLITS = dict(zip(SETS, ("train", "valid", "test"), strict=True))
SIGNS = ("negative", "neutral", "positive")

ADMITTED = frozenset(
    [
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
        ("_codecs", "encode"),  # how Python 3 writes bytes for Python 2
        *(("builtins", name) for name in ("bytearray", "frozenset", "set")),
    ]
)
"""What a pickle may contain, by module and name."""


def import_mmsa(file: Path, name: str, *, edges: Sequence[float] = ()) -> tuple[Corpus, list[Finding]]:
    """Read a corpus from the layout, and audit it. Nothing is written.

    The sets of the layout are fold 1, and a video counts as a speaker.

    Args:
        edges: between classes of sentiment, in ascending order; an edge belongs to the class above it. Without edges
            the classes are the signs.

    Raises:
        CorpusError: the file is damaged, does not follow the layout, or contains more than data.
    """
    if list(edges) != sorted(set(edges)):
        raise CorpusError(f"--edges {','.join(map(str, edges))} must be in ascending order, as in -0.1,0.1.")
    content = _read(file)
    sets = [_Set(file, split, _entry(file, content, split)) for split in SPLITS.values()]
    names = [utterance for part in sets for utterance in part.names]
    values = np.concatenate([part.labels for part in sets])
    labels = np.searchsorted(edges, values, side="right") if len(edges) else np.sign(values).astype(np.int64) + 1
    videos = [utterance.split("$_$")[0] for utterance in names]
    ends = np.cumsum([0, *(len(part.names) for part in sets)])
    corpus = Corpus(
        name=name,
        classes=_class_names(edges),
        utterances=pa.table(
            {"utterance": names, "label": labels.astype(np.int64), "sentiment": values, "speaker": videos}
        ),
        sequences={m: Sequences.of([sequence for part in sets for sequence in part.sequences(m)]) for m in FEATURES},
        folds={1: Fold(*(np.arange(*pair, dtype=np.int64) for pair in pairwise(ends)))},
        modalities=AVT,
        about=f"imported from the MMSA layout in {file.name}; classes are {_rule(edges)}",
    )
    return corpus, audit(corpus)


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2
        if (module, name) not in ADMITTED:
            raise _RefusedError(f"{module}.{name}")
        return super().find_class(module, name)


class _RefusedError(Exception):
    pass


def _read(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as stream:
            content = _DataOnly(stream, encoding="latin1").load()
    except _RefusedError as error:
        raise CorpusError(
            f"{file} contains {error}, which is not data and may be malicious; download the file from its source."
        ) from None
    except FileNotFoundError:
        raise CorpusError(f"{file} is missing; check the path.") from None
    except Exception as error:
        what = (str(error) or type(error).__name__).splitlines()[0]
        raise CorpusError(f"{file} is not a readable pickle ({what}); download it again.") from None
    if not isinstance(content, Mapping):
        raise CorpusError(f"{file} must contain a dictionary with train, valid and test.")
    return content


def _entry(file: Path, content: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    entry = content.get(split)
    if not isinstance(entry, Mapping):
        raise CorpusError(f"{file} lacks the dictionary '{split}' of the MMSA layout; export it again.")
    return entry


class _Set:
    """One of the sets of the layout, checked."""

    def __init__(self, file: Path, split: str, content: Mapping[str, Any]) -> None:
        self._where, self._content = f"{file}, {split}", content
        self.names = [str(name) for name in np.asarray(self._get("id"), dtype=object).reshape(-1)]
        labels = np.asarray(self._get("regression_labels")).reshape(-1)
        if labels.dtype.kind not in "iuf" or not np.isfinite(labels).all():
            raise CorpusError(f"{self._where}: regression_labels must be finite numbers.")
        self.labels = labels.astype(np.float64)
        self._check_count("regression_labels", len(labels))

    def sequences(self, modality: str) -> list[NDArray[np.float32]]:
        """The features of each utterance without padding, at least one time step."""
        key = FEATURES[modality]
        values = np.asarray(self._get(key))
        if values.ndim != 3 or values.dtype.kind not in "iuf" or 0 in values.shape[1:]:
            raise CorpusError(f"{self._where}: {key} must be (utterances, time, features), not {values.shape}.")
        self._check_count(key, len(values))
        lengths = self._lengths(modality, values)
        return [padded[:length].astype(np.float32) for padded, length in zip(values, lengths, strict=True)]

    def _lengths(self, modality: str, values: NDArray[Any]) -> NDArray[np.int64]:
        longest, key = values.shape[1], f"{FEATURES[modality]}_lengths"
        if modality == "t" and "text_bert" in self._content:
            masks = np.asarray(self._content["text_bert"])
            if masks.ndim != 3 or masks.shape[1] != 3:
                raise CorpusError(f"{self._where}: text_bert must be (utterances, 3, time), not {masks.shape}.")
            key, lengths = "text_bert", masks[:, 1].sum(1)
        elif key in self._content:
            lengths = np.asarray(self._content[key]).reshape(-1)
        else:  # aligned: zeros at the end are padding
            filled = (values != 0).any(2)
            lengths = np.where(filled.any(1), longest - filled[:, ::-1].argmax(1), 1)
        self._check_count(key, len(lengths))
        kept: NDArray[np.int64] = np.clip(lengths.astype(np.int64), 1, longest)
        return kept

    def _get(self, key: str) -> Any:
        if key not in self._content:
            raise CorpusError(f"{self._where} lacks '{key}'; the MMSA layout needs it.")
        return self._content[key]

    def _check_count(self, key: str, count: int) -> None:
        if count != len(self.names):
            raise CorpusError(
                f"{self._where}: {key} has {count} utterances, but id has {len(self.names)}; export them again."
            )


def _class_names(edges: Sequence[float]) -> tuple[str, ...]:
    if not edges:
        return SIGNS
    between = (f"{low:g} to {high:g}" for low, high in pairwise(edges))
    return (f"below {edges[0]:g}", *between, f"{edges[-1]:g} and above")


def _rule(edges: Sequence[float]) -> str:
    if not edges:
        return "the sign of the sentiment: below zero, zero, above zero"
    return f"split by sentiment at {', '.join(f'{edge:g}' for edge in edges)}, an edge belonging to the class above"
