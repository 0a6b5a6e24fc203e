"""Random pickles and HDF5 folders with random damage: a sentence, or the corpus that was meant, and nothing else.

`IFMMIN_FUZZ=2000` tries so many of each; by default few are tried.
"""

import gzip
import os
import pickle
import shutil
import tempfile
import unicodedata
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.mmin import import_mmin
from ifmmin.data.layouts.mmsa import import_mmsa

EXAMPLES = int(os.environ.get("IFMMIN_FUZZ", "40"))
WIDTHS: dict[str, int] = {"a": 2, "v": 3, "t": 1}
UNUSABLE = ("not a number", "no frames")


@dataclass
class Meant:
    """What a layout says.

    Attributes:
        sets: names of the utterances in each set.
        labels: the text of each utterance's class.
        features: of each utterance and modality.
        broken: utterances that `--leave-out broken` names.
        refused: whether the layout must be refused whatever is left out.
    """

    sets: list[list[str]]
    labels: dict[str, str]
    features: dict[str, dict[str, NDArray[np.float32]]]
    broken: set[str] = field(default_factory=set)
    refused: bool = False


Draw = Callable[[st.SearchStrategy[Any]], Any]
Import = Callable[[list[str]], tuple[Corpus, list[Finding]]]


def check(meant: Meant, read: Import, folds: list[list[list[str]]]) -> None:
    """Import with and without `--leave-out broken`, and compare with what was meant."""
    for words in ([], ["broken"]):
        broken = meant.broken if words else set()
        try:
            corpus, findings = read(words)
        except CorpusError as error:
            message = str(error)
            assert "\n" not in message
            assert message.endswith((".", "?"))
            possible = all(set(part) - broken for sets in folds for part in sets)
            assert meant.refused or not possible or (meant.broken and not words), message
            continue
        errors = [finding for finding in findings if finding.severity == "error" and finding.check in UNUSABLE]
        if errors:
            assert meant.refused or (meant.broken and not words), errors
            continue
        assert not meant.refused
        assert words or not meant.broken
        compare(meant, corpus, broken, folds)


def compare(meant: Meant, corpus: Corpus, broken: set[str], folds: list[list[list[str]]]) -> None:
    names = {name for sets in folds for part in sets for name in part} - broken
    assert len(corpus) == len(names)
    assert set(corpus.names) == names
    for index, name in enumerate(corpus.names):
        assert corpus.classes[corpus.labels[index]] == meant.labels[name]
        for modality, features in meant.features.items():
            assert np.array_equal(corpus.sequences[modality][index], features[name])
    for number, sets in enumerate(folds, 1):
        for key, part in zip(("train", "validation", "test"), sets, strict=True):
            assert {corpus.names[index] for index in corpus.folds[number][key]} == set(part) - broken  # type: ignore[index]


def draw_features(draw: Draw, names: list[str]) -> dict[str, dict[str, NDArray[np.float32]]]:
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    choices = np.array([-2.0, -1.0, 1.0, 3.0], np.float32)
    return {m: {n: rng.choice(choices, (int(rng.integers(1, 5)), w)) for n in names} for m, w in WIDTHS.items()}


# Pickles of the MMSA layout


KEYS: dict[str, str] = {"a": "audio", "v": "vision", "t": "text"}
SPLITS = ("train", "valid", "test")
SIGN = {-1: "negative", 0: "neutral", 1: "positive"}
Content = dict[str, dict[str, Any]]


@dataclass
class Pickle:
    """Content of the MMSA layout, what it means, and how it is written."""

    content: Content
    meant: Meant
    draw: Draw
    protocol: int = 4
    compressed: bool = False
    cut: Callable[[bytes], bytes] = bytes

    def part(self) -> dict[str, Any]:
        return self.content[self.draw(st.sampled_from(SPLITS))]

    def modality(self) -> str:
        modality: str = self.draw(st.sampled_from(list(KEYS)))
        return modality

    def row(self, part: dict[str, Any]) -> int:
        row: int = self.draw(st.integers(0, len(part["id"]) - 1))
        return row


def make_pickle(draw: Draw) -> Pickle:
    sizes = [draw(st.integers(1, 4)) for _ in SPLITS]
    form = draw(st.sampled_from(["vid{}$_${}", "{}_{}", "é{}[{}]", "00{}.{}"]))
    names = [form.format(i // 2, i) for i in range(sum(sizes))]
    sentiment = [draw(st.sampled_from([-2.0, -0.5, 0.0, 1.5])) for _ in names]
    features = draw_features(draw, names)
    content: Content = {}
    sets = []
    for name, start, size in zip(SPLITS, np.cumsum([0, *sizes]).tolist(), sizes, strict=False):
        chosen = names[start : start + size]
        sets.append(chosen)
        content[name] = {"id": list(chosen), "regression_labels": np.array(sentiment[start : start + size], "f4")}
        for modality, key in KEYS.items():
            lengths = [len(features[modality][n]) for n in chosen]
            padded = np.zeros((size, 5, WIDTHS[modality]), "f4")
            for row, n in enumerate(chosen):
                padded[row, : lengths[row]] = features[modality][n]
            content[name] |= {key: padded, f"{key}_lengths": lengths}
    labels = {n: SIGN[int(np.sign(value))] for n, value in zip(names, sentiment, strict=True)}
    return Pickle(content, Meant(sets, labels, features), draw)


def shaped(p: Pickle) -> None:
    part, key = p.part(), KEYS[p.modality()]
    rows, lengths = part[key], part.get(f"{key}_lengths")
    if not isinstance(rows, np.ndarray) or rows.dtype == object:
        return
    kind = p.draw(st.sampled_from(["f2", "f8", ">f4", "F", "list", "object", "ragged", "ragged list"]))
    if kind == "F":
        part[key] = np.asfortranarray(rows)
    elif kind == "list":
        part[key] = rows.tolist()
    elif kind.startswith("ragged"):
        if isinstance(lengths, list) and all(isinstance(length, int) and 0 < length <= 5 for length in lengths):
            cut = [row[:length] for row, length in zip(rows, lengths, strict=True)]
            part[key] = [row.tolist() for row in cut] if "list" in kind else cut
    else:
        part[key] = rows.astype(kind)


def without_lengths(p: Pickle) -> None:
    part, key = p.part(), KEYS[p.modality()]
    if p.draw(st.booleans()):
        part[f"{key}_lengths"] = None
    else:
        part.pop(f"{key}_lengths", None)


def masked(p: Pickle) -> None:
    part = p.part()
    lengths = part.pop("text_lengths", None)
    if isinstance(lengths, list) and all(isinstance(length, int) for length in lengths):
        mask = np.arange(5) < np.array(lengths)[:, None]
        part["text_bert"] = np.stack([mask, mask, mask], 1).astype(p.draw(st.sampled_from(["f4", "i8", "?"])))
    else:
        part["text_lengths"] = lengths


def named(p: Pickle) -> None:
    part = p.part()
    change = p.draw(st.sampled_from([np.array, tuple, lambda x: np.array(x, object), lambda x: np.array(x)[:, None]]))
    names = [n.decode() if isinstance(n, bytes) else n for n in np.asarray(part["id"]).reshape(-1).tolist()]
    part["id"] = change([n.encode() for n in names] if p.draw(st.booleans()) else names)


def labelled(p: Pickle) -> None:
    part = p.part()
    values = np.asarray(part["regression_labels"], float)
    change = p.draw(
        st.sampled_from([list, lambda x: x[:, None], lambda x: x.astype(">f8"), lambda x: x.astype(object)])
    )
    part["regression_labels"] = change(values)


def container(p: Pickle) -> None:
    kind = p.draw(st.sampled_from([OrderedDict, lambda x: defaultdict(list, x), lambda x: defaultdict(dict, x)]))
    for name in SPLITS:
        p.content[name] = kind(p.content[name])
    p.content = kind(p.content)


def written(p: Pickle) -> None:
    p.protocol, p.compressed = p.draw(st.integers(0, 5)), p.draw(st.booleans())


def silent(p: Pickle) -> None:
    """-inf in audio."""
    name = p.draw(st.sampled_from(SPLITS))
    part = p.content[name]
    if isinstance(part["audio"], np.ndarray) and part["audio"].dtype == "f4":
        row = p.row(part)
        part["audio"] = part["audio"].copy()
        part["audio"][row, 0, 1] = -np.inf
        utterance = p.meant.sets[SPLITS.index(name)][row]
        p.meant.features["a"][utterance][0, 1] = 0


def broken(p: Pickle) -> None:
    name = p.draw(st.sampled_from(SPLITS))
    part = p.content[name]
    row = p.row(part)
    what = p.draw(st.sampled_from(["features", "label", "length", "lengths"]))
    value = p.draw(st.sampled_from([np.nan, np.inf]))
    key = KEYS[p.modality()]
    utterance = p.meant.sets[SPLITS.index(name)][row]
    if what == "features" and isinstance(part[key], np.ndarray) and part[key].dtype == "f4":
        part[key] = part[key].copy()
        part[key][row, 0, 0] = value
    elif what == "label":
        labels = np.asarray(part["regression_labels"], float).reshape(-1).tolist()
        part["regression_labels"] = [
            p.draw(st.sampled_from([value, None])) if i == row else x for i, x in enumerate(labels)
        ]
    elif what == "length" and isinstance(part.get(f"{key}_lengths"), list):
        part[f"{key}_lengths"][row] = p.draw(st.sampled_from([None, value, -1, 1.5]))
    elif what == "lengths" and isinstance(part.get(f"{key}_lengths"), list):
        part[f"{key}_lengths"] = [np.nan] * len(part["id"])
        p.meant.broken |= set(p.meant.sets[SPLITS.index(name)])
    else:
        return
    p.meant.broken.add(utterance)


def fatal(p: Pickle) -> None:
    part, key = p.part(), KEYS[p.modality()]
    count = len(part["id"])

    def one_of(*values: Any) -> Any:
        return p.draw(st.sampled_from(values))

    changes: dict[str, Callable[[], object]] = {
        "repeated": lambda: p.content["test"].update(
            id=[next(iter(p.content["train"]["id"]))] * len(p.content["test"]["id"])
        ),
        "in two sets": lambda: p.content.update(test=p.content["train"]),
        "width": lambda: part.update({key: np.ones((count, 5, 7), "f4")}),
        "count": lambda: part.update({key: np.ones((count + 1, 5, WIDTHS["a"]), "f4")}),
        "dimension": lambda: part.update({key: np.ones((count, 5), "f4")}),
        "text": lambda: part.update({key: [["x"]] * count}),
        "missing": lambda: part.pop(one_of(key, "id", "regression_labels")),
        "none": lambda: part.update({one_of(key, "id", "regression_labels"): None}),
        "empty": lambda: part.update(id=[]),
        "no set": lambda: p.content.pop(one_of(*SPLITS)),
        "list": lambda: p.content.update({"train": [((["w"], [[1]], [[1]]), 1.0, "x")]}),  # type: ignore[dict-item]
        "lengths": lambda: part.update({f"{key}_lengths": p.draw(st.sampled_from(["x", [[1, 2], [3]], {}, [1] * 9]))}),
        "labels": lambda: part.update(
            regression_labels=p.draw(st.sampled_from([np.ones((count, 3)), ["a"] * count, 1.0]))
        ),
        "ids": lambda: part.update(
            id=p.draw(st.sampled_from([1.0, np.arange(count) + 0.5, [None] * count, [" "] * count]))
        ),
        "cut": lambda: setattr(p, "cut", lambda data: data[: len(data) * 2 // 3]),
        "pointer": lambda: setattr(p, "cut", lambda _: b"version https://git-lfs.github.com/spec/v1\n"),
        "page": lambda: setattr(p, "cut", lambda _: b"<!DOCTYPE html>"),
    }
    p.meant.refused = True
    if key == "text" and "text_bert" in part:
        changes.pop("lengths")
    changes[p.draw(st.sampled_from(sorted(changes)))]()


FORMS = [shaped, without_lengths, masked, named, labelled, container, written]


@st.composite
def pickles(draw: st.DrawFn) -> Pickle:
    p = make_pickle(draw)
    for change in draw(st.lists(st.sampled_from(FORMS), max_size=4)):
        change(p)
    for change in draw(st.lists(st.sampled_from([silent, broken]), max_size=2)):
        change(p)
    if draw(st.integers(0, 3)) == 0:
        fatal(p)
    return p


@settings(max_examples=EXAMPLES)
@given(pickles())
def test_a_pickle_is_what_was_meant_or_is_refused(p: Pickle) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = pickle.dumps(p.content, p.protocol)
        file = Path(folder) / "x.pkl"
        file.write_bytes(p.cut(gzip.compress(data) if p.compressed else data))
        check(p.meant, lambda words: import_mmsa(file, "x", leave_out=words), [p.meant.sets])


@settings(max_examples=EXAMPLES)
@given(pickles(), st.data())
def test_a_pickle_with_any_bytes_changed_is_read_or_refused_in_a_sentence(p: Pickle, data: st.DataObject) -> None:
    content = bytearray(pickle.dumps(p.content, p.protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.pkl"
        file.write_bytes(content)
        with suppress(CorpusError):
            import_mmsa(file, "x", leave_out=["broken"])


# Folders of the MMIN layout


FILES: dict[str, str] = {"a": "A/comparE.h5", "v": "V/denseface.h5", "t": "L/bert_large.h5"}
PREFIXES = ("trn", "val", "tst")


@dataclass
class Folder:
    """A folder of the MMIN layout, and what it means."""

    root: Path
    meant: Meant
    folds: list[list[list[str]]]
    draw: Draw

    def names(self) -> list[str]:
        return sorted(self.meant.labels)

    def array(self, kind: str) -> Path:
        number = self.draw(st.integers(1, len(self.folds)))
        return self.root / "target" / str(number) / f"{self.draw(st.sampled_from(PREFIXES))}_{kind}.npy"

    def file(self) -> Path:
        return self.root / FILES[self.draw(st.sampled_from(list(FILES)))]


def make_folder(draw: Draw, root: Path) -> Folder:
    count = draw(st.integers(6, 12))
    form = draw(st.sampled_from(["u{:02}", "g/{}", "s{0}/u{0}", "é ü{}", "10:{:02}", "1.{}0", "Ses01F_impro01_F{:03}"]))
    names = [form.format(i) for i in range(count)]
    numbers = sorted(draw(st.sets(st.integers(0, 20), min_size=2, max_size=4)))
    label = {n: numbers[i] if i < len(numbers) else draw(st.sampled_from(numbers)) for i, n in enumerate(names)}
    features = draw_features(draw, names)
    kinds = {m: draw(st.sampled_from(["f2", "f4", ">f4", "f8", ">f8", "i1", ">i4"])) for m in FILES}
    for modality, path in FILES.items():
        (root / path).parent.mkdir(parents=True)
        options: dict[str, Any] = draw(st.sampled_from([{}, {"compression": "gzip"}, {"chunks": True}]))
        with h5py.File(root / path, "w") as file:
            for n in names:
                file.create_dataset(n, data=features[modality][n].astype(kinds[modality]), **options)
            if draw(st.booleans()):
                file["unused"] = np.ones((2, 2))
    one_hot = draw(st.booleans())
    folds = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        sets = [[n for i, n in enumerate(names) if (i + number) % 3 == place] for place in range(3)]
        folds.append(sets)
        target = root / "target" / str(number)
        target.mkdir(parents=True)
        for prefix, chosen in zip(PREFIXES, sets, strict=True):
            values = np.array([label[n] for n in chosen])
            form_of_labels = draw(st.sampled_from(["int", "float", "column"]))
            if one_hot:
                values = np.eye(21)[values].astype(draw(st.sampled_from(["i8", "f4", "?"])))
            elif form_of_labels != "int":
                values = values.astype("f8") if form_of_labels == "float" else values[:, None]
            np.save(target / f"{prefix}_label.npy", values)
            np.save(target / f"{prefix}_int2name.npy", name_array(draw, chosen))
    texts = {n: str(number) for n, number in label.items()}
    if form.startswith("Ses") and not one_hot and len(set(numbers)) == 4:
        known = ("angry", "happy", "neutral", "sad")
        texts = {n: known[numbers.index(number)] for n, number in label.items()}
    return Folder(root, Meant([], texts, features), folds, draw)


def name_array(draw: Draw, names: list[str]) -> NDArray[Any]:
    if draw(st.booleans()):
        names = [unicodedata.normalize("NFC", n) for n in names]
    array = np.array([n.encode() for n in names] if draw(st.booleans()) else names)
    return array[:, None] if draw(st.booleans()) else array


def broken_sequence(f: Folder) -> None:
    name = f.draw(st.sampled_from(f.names()))
    with h5py.File(f.file(), "r+") as file:
        values = file[name][()].astype("f4")
        values[-1, 0] = f.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        del file[name]
        file[name] = values
    f.meant.broken.add(name)


def replace_sequence(f: Folder, value: object) -> None:
    name = f.draw(st.sampled_from(f.names()))
    with h5py.File(f.file(), "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value


def spoil_array(f: Folder, kind: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    path = f.array(kind)
    np.save(path, change(np.load(path)))


def replace_file(f: Folder, content: bytes | None) -> None:
    path = f.draw(st.sampled_from([f.file(), f.array("label"), f.array("int2name")]))
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def cut_file(f: Folder) -> None:
    path = f.draw(st.sampled_from([f.file(), f.array("label"), f.array("int2name")]))
    data = path.read_bytes()
    path.write_bytes(data[: f.draw(st.integers(0, len(data) - 1))])


FATAL: list[Callable[[Folder], object]] = [
    lambda f: replace_sequence(f, np.ones((2, 9))),
    lambda f: replace_sequence(f, np.ones(3)),
    lambda f: replace_sequence(f, b"text"),
    lambda f: replace_sequence(f, h5py.Empty("f4")),
    lambda f: spoil_array(f, "label", lambda x: x[:-1]),
    lambda f: spoil_array(f, "label", lambda x: x.astype(str)),
    lambda f: spoil_array(f, "label", lambda x: np.full(len(x), -1)),
    lambda f: spoil_array(f, "label", lambda x: np.full(len(x), np.nan)),
    lambda f: spoil_array(f, "label", lambda _: np.array(1)),
    lambda f: spoil_array(f, "label", lambda x: x.astype(object)),
    lambda f: spoil_array(f, "int2name", lambda x: x.reshape(-1)[:1].reshape(())),
    lambda f: spoil_array(f, "int2name", lambda x: x.astype(object)),
    lambda f: spoil_array(f, "int2name", lambda x: x[[0] * len(x)]),
    lambda f: spoil_array(f, "int2name", lambda x: np.arange(len(x))),
    lambda f: spoil_array(f, "int2name", lambda x: np.array([b"\xff"] * len(x))),
    lambda f: spoil_array(f, "int2name", lambda x: np.array([" "] * len(x))),
    lambda f: replace_file(f, None),
    lambda f: replace_file(f, b""),
    lambda f: replace_file(f, b"<html>"),
    lambda f: replace_file(f, b"version https://git-lfs.github.com/spec/v1\n"),
    lambda f: replace_file(f, b"neither"),
    cut_file,
    lambda f: shutil.rmtree(f.root / "target" / "1"),
    lambda f: f.file().unlink(),
]


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_folder_is_what_was_meant_or_is_refused(data: st.DataObject) -> None:
    draw = data.draw
    with tempfile.TemporaryDirectory() as temporary:
        f = make_folder(draw, Path(temporary))
        for _ in range(draw(st.integers(0, 2))):
            broken_sequence(f)
        if draw(st.integers(0, 2)) == 0:
            f.meant.refused = True
            draw(st.sampled_from(FATAL))(f)
        check(f.meant, lambda words: import_mmin(f.root, "x", leave_out=words), f.folds)
