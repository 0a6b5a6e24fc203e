"""The corpus: utterances with ragged features of some modalities, labels, speakers and folds, stored as Arrow files.

The layouts that corpora are imported from live in `data.layouts`, tensors in `data.batches`.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.errors import CorpusError, nearest
from ifmmin.data.folder import Folder, Location, reason
from ifmmin.data.modalities import AVT, Modality, check_modalities, letters_of

SetName = Literal["train", "validation", "test"]
SETS: tuple[SetName, ...] = get_args(SetName)

FORMAT = 2
_WITHOUT_MODALITIES = 1
"""The first format, whose header names the standardised ones among the modalities `AVT`."""

Features: TypeAlias = dict[str, list[NDArray[np.float32] | None]]
"""For each modality's letter the features of some utterances, (time, features); None where an utterance lacks it."""

Statistics: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Mean and standard deviation of each feature of a modality, (features,)."""

HEADER = "corpus.json"
"""Written last; without this file there is no corpus."""

_UTTERANCES_AT_ONCE = 16
"""Few enough for their frames to stay in a processor's cache."""


@dataclass(frozen=True)
class Sequences:
    """The sequences of all utterances in one modality, concatenated.

    Attributes:
        values: float32 (frames of all utterances, features).
        offsets: int64 (utterances + 1,); utterance i has the frames offsets[i]:offsets[i + 1].
    """

    values: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, parts: list[NDArray[np.float32]]) -> "Sequences":
        """Concatenate the sequences (time, features) of several utterances."""
        lengths = [len(part) for part in parts]
        return cls(np.concatenate(parts).astype(np.float32, copy=False), np.cumsum([0, *lengths], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """The sequence (time, features) of one utterance, a view."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def keep(self, kept: NDArray[np.bool_]) -> "Sequences":
        """The sequences of these utterances, bool (utterances,); the others lack the modality."""
        lengths = self.lengths
        frames = self.values[np.repeat(kept, lengths)]
        return Sequences(frames, np.cumsum([0, *np.where(kept, lengths, 0)], dtype=np.int64))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of frames of each utterance, int64 (utterances,)."""
        return np.diff(self.offsets)

    @property
    def dimension(self) -> int:
        """Number of features of a frame."""
        return int(self.values.shape[1])

    @cached_property
    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of each utterance's frames, and their sum of squared deviations from it, (utterances, features) each.

        Both are zero where an utterance has no frames.
        """
        means, squares = (np.zeros((len(self), self.dimension)) for _ in range(2))
        present = np.flatnonzero(self.lengths)
        for first in range(0, len(present), _UTTERANCES_AT_ONCE):
            part = present[first : first + _UTTERANCES_AT_ONCE]
            starts, counts = self.offsets[part], self.lengths[part]
            frames = self.values[starts[0] : self.offsets[part[-1] + 1]].astype(np.float64)
            means[part] = np.add.reduceat(frames, starts - starts[0]) / counts[:, None]
            frames -= np.repeat(means[part], counts, axis=0)
            squares[part] = np.add.reduceat(np.square(frames, out=frames), starts - starts[0])
        return means, squares


@dataclass(frozen=True)
class Fold:
    """One split of the corpus into three sets, each the indices of its utterances, int64."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    def __getitem__(self, name: SetName) -> NDArray[np.int64]:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


@dataclass(frozen=True)
class Provenance:
    """How the features of a modality were made from recordings.

    Attributes:
        extractor: as `--extract` takes it.
        version: of the extractor.
        licence: of its program and weights.
        identity: everything else that the features of a recording depend on, see `data.recordings.extractors`.
    """

    extractor: str
    version: str
    licence: str
    identity: str


@dataclass(frozen=True)
class Corpus:
    """The data of an experiment.

    Attributes:
        name: by which users refer to it.
        classes: names of the classes, in label order.
        utterances: one row each, with the columns `utterance` (name), `label` (int64), and others such as `speaker`;
            `dialogue` and `turn` say what belongs together, and in which order.
        sequences: the features of each modality by its letter, in the order of `utterances`; an utterance without
            frames lacks the modality.
        folds: by number, from 0 or 1.
        modalities: one to six, in the order in which their features stand side by side everywhere.
        about: source, licence and other remarks for the reader.
        best: the highest accuracy that any classifier can reach in each condition, where known.
        extractors: by the letters of the modalities that were made from recordings, how.
        fingerprint: hash of everything a result can depend on, so not of the names of corpus and classes.

    Raises:
        CorpusError: the modalities are not valid, or not those of the sequences.
    """

    name: str
    classes: tuple[str, ...]
    utterances: pa.Table
    sequences: Mapping[str, Sequences]
    folds: Mapping[int, Fold]
    modalities: tuple[Modality, ...]
    about: str = ""
    best: Mapping[str, float] = field(default_factory=dict)
    extractors: Mapping[str, Provenance] = field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        check_modalities(self.modalities)
        if set(self.sequences) != set(self.letters):
            raise CorpusError(
                f"Corpus '{self.name}' has features of {', '.join(self.sequences)} and the modalities "
                f"{', '.join(self.letters)}; they must be the same."
            )

    def __len__(self) -> int:
        return int(self.utterances.num_rows)

    @property
    def letters(self) -> tuple[str, ...]:
        """Those of the modalities, in their order."""
        return letters_of(self.modalities)

    @property
    def names(self) -> list[str]:
        """Names of the utterances."""
        return list(self.utterances["utterance"].to_pylist())

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 (utterances,)."""
        return _numbers(self.utterances["label"].combine_chunks()).astype(np.int64)

    @property
    def speakers(self) -> list[str | None] | None:
        """The speaker of each utterance, None where it is unknown; None if all speakers are."""
        return self.column("speaker")

    def column(self, name: str) -> list[Any] | None:
        """What a column of `utterances` holds; None if there is none of that name."""
        return list(self.utterances[name].to_pylist()) if name in self.utterances.column_names else None

    @property
    def dimensions(self) -> dict[str, int]:
        """Number of features of each modality, in their order."""
        return {m: self.sequences[m].dimension for m in self.letters}

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which modalities each utterance has, bool (utterances, modalities)."""
        return np.stack([self.sequences[m].lengths > 0 for m in self.letters], 1)


def choose_modalities(corpus: Corpus, letters: str) -> Corpus:
    """A corpus with some of its modalities, in their order; it has yet to be written.

    Raises:
        CorpusError: it lacks one of them.
    """
    unknown = [letter for letter in letters if letter not in corpus.letters]
    if unknown:
        raise CorpusError(f"Corpus '{corpus.name}' has no modality {unknown[0]}; {nearest(unknown[0], corpus.letters)}")
    return replace(
        corpus,
        modalities=tuple(modality for modality in corpus.modalities if modality.letter in letters),
        sequences={m: corpus.sequences[m] for m in corpus.letters if m in letters},
        best={condition: value for condition, value in corpus.best.items() if set(condition) <= set(letters)},
        extractors={letter: how for letter, how in corpus.extractors.items() if letter in letters},
        fingerprint="",
    )


def check_corpus(corpus: Corpus) -> None:
    """Check what networks rely on.

    Raises:
        CorpusError: an utterance has no modality, a modality has no utterance, or one that is encoded as one vector
            an utterance has several.
    """
    for modality in corpus.modalities:
        lengths = corpus.sequences[modality.letter].lengths
        if not lengths.any():
            raise CorpusError(f"No utterance of '{corpus.name}' has modality {modality.letter}; leave it out.")
        if modality.encoder == "linear" and lengths.max() > 1:
            raise CorpusError(
                f"Modality {modality.letter} is encoded as one vector an utterance (linear), and "
                f"{corpus.names[int(lengths.argmax())]} has {lengths.max()} time steps; encode it by an lstm."
            )
    complete = corpus.present.any(1)
    if not complete.all():
        raise CorpusError(f"Utterance {corpus.names[int(complete.argmin())]} has no modality; leave it out.")


def compute_fingerprint(corpus: Corpus) -> str:
    """Hash of everything a result can depend on: names, labels, features, folds, modalities but for their titles.

    That of a corpus with the modalities `AVT` is the one of the first format, whichever of them are standardised.
    """
    digest = hashlib.sha256(f"corpus format {_WITHOUT_MODALITIES}".encode())
    for text in ("\n".join(corpus.names), _encoding(corpus.modalities), str(len(corpus.classes))):
        digest.update(text.encode() + b"\0")
    digest.update(np.ascontiguousarray(corpus.labels).data)
    if "dialogue" in corpus.utterances.column_names:
        digest.update(json.dumps([corpus.column("dialogue"), corpus.column("turn")]).encode())
    for letter in corpus.letters:
        sequences = corpus.sequences[letter]
        digest.update(np.ascontiguousarray(sequences.offsets).data)
        digest.update(np.ascontiguousarray(sequences.values).data)
    for number, fold in sorted(corpus.folds.items()):
        for name in SETS:
            digest.update(f"{number} {name} {len(fold[name])}".encode())
            digest.update(np.ascontiguousarray(fold[name]).data)
    return digest.hexdigest()[:32]


def _encoding(modalities: tuple[Modality, ...]) -> str:
    """How these modalities are encoded: for those of `AVT` the standardised ones alone, as in the first format."""
    if [(m.letter, m.encoder) for m in modalities] == [(m.letter, m.encoder) for m in AVT]:
        return " ".join(modality.letter for modality in modalities if modality.standardised)
    return " ".join(f"{m.letter}:{m.encoder}:{'standardised' if m.standardised else 'plain'}" for m in modalities)


def standardisation(corpus: Corpus, fold: int) -> dict[str, Statistics]:
    """The training statistics of a fold for the modalities that are standardised."""
    return {m.letter: training_statistics(corpus, fold, m.letter) for m in corpus.modalities if m.standardised}


def training_lengths(corpus: Corpus, fold: int) -> dict[str, int]:
    """For each modality the median length of a fold's training utterances that have it.

    An utterance that lacks a modality counts as so many time steps of zeros.
    """
    train = corpus.folds[fold].train
    lengths = {letter: corpus.sequences[letter].lengths[train] for letter in corpus.letters}
    return {letter: int(np.median(part[part > 0])) if part.any() else 1 for letter, part in lengths.items()}


def training_statistics(corpus: Corpus, fold: int, letter: str) -> Statistics:
    """Mean and standard deviation of each feature of a modality over all frames of a fold's training set.

    The moments of utterances are merged by the formula of Chan, Golub and LeVeque (The American Statistician 37, 1983).
    A feature that varies by no more than float32 rounding gets the deviation 1.
    """
    sequences, train = corpus.sequences[letter], corpus.folds[fold].train
    counts, (means, squares) = sequences.lengths[train], sequences.moments
    if not counts.any():
        return np.zeros(sequences.dimension, np.float32), np.ones(sequences.dimension, np.float32)
    means = means[train]
    mean = np.einsum("u,uf->f", counts, means) / counts.sum()
    between = np.einsum("u,uf->f", counts, (means - mean) ** 2)
    deviation = np.sqrt((squares[train].sum(0) + between) / counts.sum())
    float32 = np.finfo(np.float32)
    deviation[deviation <= np.maximum(float32.eps * np.abs(mean), float32.tiny)] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def write_corpus(corpus: Corpus, location: Location, *, compression: Literal["zstd"] | None = None) -> Corpus:
    """Write a corpus to a new folder, atomically, and return it with its fingerprint.

    `open_corpus` can map uncompressed files into memory without a copy.

    Raises:
        CorpusError: the corpus is not valid, the folder already contains one, or it cannot be written.
    """
    check_corpus(corpus)
    folder = Folder(location)
    if folder.present([HEADER]):
        raise CorpusError(f"{folder} already exists; choose another --name, or delete that folder first.")
    corpus = replace(corpus, fingerprint=compute_fingerprint(corpus))
    header = {
        "format": FORMAT,
        "name": corpus.name,
        "classes": corpus.classes,
        "dimensions": corpus.dimensions,
        "modalities": [asdict(modality) for modality in corpus.modalities],
        "about": corpus.about,
        "best": dict(corpus.best),
        "extractors": {letter: asdict(how) for letter, how in corpus.extractors.items()},
        "fingerprint": corpus.fingerprint,
    }
    tables = {"utterances": corpus.utterances.combine_chunks(), "folds": _fold_table(corpus.folds)}
    tables |= {letter: _sequence_table(corpus.sequences[letter]) for letter in corpus.letters}
    options = pa.ipc.IpcWriteOptions(compression=compression)
    content = json.dumps(header, indent=2) + "\n"
    try:
        for name, table in tables.items():
            with (
                folder.create(f"{name}.arrow") as sink,
                pa.ipc.new_file(sink, table.schema, options=options) as writer,
            ):
                writer.write_table(table)
        folder.write(HEADER, content.encode())
    except OSError as error:
        with suppress(OSError):
            folder.delete_all()
        raise CorpusError(
            f"The corpus cannot be written to {folder} ({reason(error)}); free space, or choose another --storage."
        ) from error
    return corpus


def open_corpus(location: Location) -> Corpus:
    """Open a corpus; local files are mapped into memory and read when they are used.

    Raises:
        CorpusError: the folder contains no corpus, or one of its files is damaged.
    """
    folder = Folder(location)
    try:
        header = json.loads(folder.read(HEADER))
        if header["format"] not in (_WITHOUT_MODALITIES, FORMAT):
            raise CorpusError(
                f"{folder}/{HEADER} has the corpus format {header['format']}, and this version reads up to {FORMAT}; "
                "import the corpus again."
            )
        modalities = _read_modalities(header)
        corpus = Corpus(
            name=header["name"],
            classes=tuple(header["classes"]),
            utterances=_read_table(folder, "utterances"),
            sequences={m.letter: _read_sequences(folder, m.letter) for m in modalities},
            folds=_read_folds(folder),
            modalities=modalities,
            about=header["about"],
            best=header["best"],
            extractors={letter: Provenance(**how) for letter, how in header.get("extractors", {}).items()},
            fingerprint=header["fingerprint"],
        )
    except FileNotFoundError:
        raise CorpusError(f"{folder}/{HEADER} is missing; import the corpus again.") from None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise CorpusError(f"The corpus in {folder} is damaged ({error}); import it again.") from error
    counts = {len(sequences) for sequences in corpus.sequences.values()}
    if counts != {len(corpus)}:
        raise CorpusError(f"The corpus in {folder} is damaged (its tables differ in length); import it again.")
    return corpus


def verify_corpus(corpus: Corpus) -> None:
    """Read all of a corpus and compare it with its fingerprint.

    Raises:
        CorpusError: its files have changed since the import.
    """
    if compute_fingerprint(corpus) != corpus.fingerprint:
        raise CorpusError(
            f"The files of corpus '{corpus.name}' have changed since they were imported; import it again under a new "
            "--name, which keeps earlier results valid."
        )


def _read_table(folder: Folder, name: str) -> pa.Table:
    if not folder.present([f"{name}.arrow"]):
        raise CorpusError(f"{folder}/{name}.arrow is missing; import the corpus again.")
    with folder.map(f"{name}.arrow") as source:
        return pa.ipc.open_file(source).read_all()


def _read_modalities(header: Mapping[str, Any]) -> tuple[Modality, ...]:
    if header["format"] == _WITHOUT_MODALITIES:
        return tuple(replace(modality, standardised=modality.letter in header["standardised"]) for modality in AVT)
    return tuple(Modality(**modality) for modality in header["modalities"])


def _sequence_table(sequences: Sequences) -> pa.Table:
    values = pa.array(np.ascontiguousarray(sequences.values).reshape(-1))
    frames = pa.FixedSizeListArray.from_arrays(values, sequences.dimension)
    return pa.table({"frames": pa.LargeListArray.from_arrays(pa.array(sequences.offsets), frames)})


def _read_sequences(folder: Folder, letter: str) -> Sequences:
    ragged = _read_table(folder, letter)["frames"].chunk(0)  # written as one; combine_chunks would copy it
    values = _numbers(ragged.values.values)
    return Sequences(values.reshape(-1, ragged.values.type.list_size), _numbers(ragged.offsets))


def _fold_table(folds: Mapping[int, Fold]) -> pa.Table:
    rows = [(n, name, fold[name]) for n, fold in sorted(folds.items()) for name in SETS]
    sizes = [len(indices) for _, _, indices in rows]
    return pa.table(
        {
            "fold": np.repeat(np.array([n for n, _, _ in rows], dtype=np.int32), sizes),
            "set": pa.array(np.repeat([name for _, name, _ in rows], sizes)),
            "utterance": np.concatenate([indices for _, _, indices in rows]),
        }
    )


def _read_folds(folder: Folder) -> dict[int, Fold]:
    table = _read_table(folder, "folds")
    names = table["set"].combine_chunks().dictionary_encode()
    places = np.array([SETS.index(name) for name in names.dictionary.to_pylist()], dtype=np.int64)
    folds = _numbers(table["fold"].combine_chunks()).astype(np.int64)
    keys = len(SETS) * folds + places[_numbers(names.indices)]
    order = np.argsort(keys, kind="stable")
    utterances = _numbers(table["utterance"].combine_chunks()).astype(np.int64)[order]
    numbers = np.unique(folds)
    bounds = np.searchsorted(keys[order], len(SETS) * numbers[:, None] + np.arange(len(SETS) + 1))
    return {
        int(number): Fold(*(utterances[start:stop] for start, stop in pairwise(row)))
        for number, row in zip(numbers, bounds, strict=True)
    }


def _numbers(array: pa.Array) -> NDArray[Any]:
    """A view of an array of numbers; unlike `to_numpy`, this does not import pandas."""
    return np.from_dlpack(array)
