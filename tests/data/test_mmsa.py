"""The MMSA layout: what is data is read, and what is more is refused before it is run."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.mmsa import import_mmsa

DIMENSIONS = {"audio": 3, "vision": 4, "text": 5}
LONGEST = 9


def make_set(start: int, count: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    content: dict[str, Any] = {"id": [f"video{(start + i) // 4}$_${i}" for i in range(count)]}
    for key, dimension in DIMENSIONS.items():
        lengths = rng.integers(1, LONGEST + 1, count)
        values = rng.normal(size=(count, LONGEST, dimension)).astype(np.float32)
        values[np.arange(LONGEST) >= lengths[:, None]] = 0
        content |= {key: values, f"{key}_lengths": lengths.tolist()}
    mask = np.arange(LONGEST) < np.array(content.pop("text_lengths"))[:, None]
    content["text_bert"] = np.stack([mask, mask, mask], 1).astype(np.float32)
    content["regression_labels"] = np.resize([-2.5, -0.05, 0.0, 0.05, 1.0], count).astype(np.float32)
    return content


def make_content() -> dict[str, Any]:
    return {"train": make_set(0, 20, 1), "valid": make_set(100, 8, 2), "test": make_set(200, 12, 3)}


def write(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_in_the_file_is_in_the_corpus(tmp_path: Path, protocol: int) -> None:
    content = make_content()
    corpus, _ = import_mmsa(write(tmp_path / "mosi.pkl", content, protocol), "mosi")
    assert len(corpus) == 40
    assert [len(corpus.folds[1][name]) for name in ("train", "validation", "test")] == [20, 8, 12]
    assert corpus.dimensions == {"a": 3, "v": 4, "t": 5}
    assert corpus.classes == ("negative", "neutral", "positive")
    assert corpus.labels[:5].tolist() == [0, 0, 1, 2, 2]
    assert corpus.speakers is not None
    assert corpus.speakers[:5] == ["video0"] * 4 + ["video1"]
    test = content["test"]
    for row, index in enumerate(corpus.folds[1].test):
        assert corpus.names[index] == test["id"][row]
        for sequences, key in ((corpus.sequences["a"], "audio"), (corpus.sequences["v"], "vision")):
            assert np.array_equal(sequences[index], test[key][row][: test[f"{key}_lengths"][row]])
        assert np.array_equal(corpus.sequences["t"][index], test["text"][row][: int(test["text_bert"][row, 1].sum())])


def test_without_lengths_zeros_at_the_end_are_padding(tmp_path: Path) -> None:
    content = make_content()
    expected, _ = import_mmsa(write(tmp_path / "with.pkl", content), "x")
    for part in content.values():
        for key in ("audio_lengths", "vision_lengths", "text_bert"):
            del part[key]
    imported, _ = import_mmsa(write(tmp_path / "without.pkl", content), "x")
    for modality, sequences in expected.sequences.items():
        assert np.array_equal(imported.sequences[modality].values, sequences.values)
        assert np.array_equal(imported.sequences[modality].offsets, sequences.offsets)


def test_edges_cut_the_sentiment_into_classes(tmp_path: Path) -> None:
    corpus, _ = import_mmsa(write(tmp_path / "mosi.pkl", make_content()), "x", edges=[-0.1, 0.05])
    assert corpus.classes == ("below -0.1", "-0.1 to 0.05", "0.05 and above")
    assert corpus.labels[:5].tolist() == [0, 1, 1, 2, 2]
    assert "-0.1, 0.05" in corpus.about


class Runs:
    """What runs a program when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


@pytest.mark.parametrize(
    ("function", "arguments", "refused"),
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open('{}', 'w')",), "builtins.eval"),
        (exec, ("open('{}', 'w')",), "builtins.exec"),
        (getattr, (str, "format"), "builtins.getattr"),
        (__import__, ("antigravity",), "builtins.__import__"),
        (np.load, ("{}", None, True), "numpy.load"),
        (np.save, ("{}", 1), "numpy.save"),
        (Path, ("{}",), "pathlib"),
        (pickle.loads, (b"",), "pickle.loads"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 4])
def test_code_in_a_pickle_is_refused_and_not_executed(
    tmp_path: Path, function: Callable[..., object], arguments: tuple[object, ...], refused: str, protocol: int
) -> None:
    trace = tmp_path / "trace.npy"
    content = make_content()
    traced = [part.format(trace) if isinstance(part, str) else part for part in arguments]
    content["test"]["audio"] = [Runs(function, *traced)]
    with pytest.raises(CorpusError, match=r"contains .*which is not data") as caught:
        import_mmsa(write(tmp_path / "hostile.pkl", content, protocol), "x")
    assert refused in str(caught.value)
    assert not trace.exists()


def spoilt(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = make_content()
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "must contain a dictionary"),
        (spoilt(lambda c: c.pop("valid")), "lacks the dictionary 'valid'"),
        (spoilt(lambda c: c["train"].pop("vision")), "train lacks 'vision'"),
        (spoilt(lambda c: c["test"].update(id=["one"])), "has 12 utterances, but id has 1"),
        (spoilt(lambda c: c["test"].update(audio=np.zeros((12, 3)))), r"audio must be \(utterances, time, features\)"),
        (spoilt(lambda c: c["test"].update(text_bert=np.zeros((12, 9)))), r"text_bert must be \(utterances, 3, time\)"),
        (spoilt(lambda c: c["train"].update(regression_labels=np.full(20, np.nan))), "20 of 40 .* not a finite number .* correct regression_labels"),
        (spoilt(lambda c: c["train"].update(audio_lengths=[1])), "audio_lengths has 1 utterances"),
    ],
)
def test_what_does_not_follow_the_layout_is_refused_in_one_sentence(
    tmp_path: Path, content: object, message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        import_mmsa(write(tmp_path / "odd.pkl", content), "x")


def test_a_truncated_or_missing_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "half.pkl", make_content())
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CorpusError, match="not a readable pickle"):
        import_mmsa(file, "x")
    with pytest.raises(CorpusError, match="is missing"):
        import_mmsa(tmp_path / "none.pkl", "x")
    with pytest.raises(CorpusError, match="must be in ascending order"):
        import_mmsa(write(tmp_path / "mosi.pkl", make_content()), "x", edges=[0.1, -0.1])
