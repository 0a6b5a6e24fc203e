"""The MMSA layout: what is data is read, and what is more is refused before it is run."""

import os
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.mmsa import import_mmsa
from ifmmin.orchestrator.commands.data import app as data_app

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
        (
            spoilt(lambda c: c["train"].update(regression_labels=np.full(20, np.nan))),
            "correct regression_labels",
        ),
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


def imported(tmp_path: Path, content: object, **options: Any) -> tuple[Corpus, list[Finding]]:
    return import_mmsa(write(tmp_path / "x.pkl", content), "x", **options)


def refusal(tmp_path: Path, content: object, **options: Any) -> str:
    with pytest.raises(CorpusError) as caught:
        imported(tmp_path, content, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def messages(findings: list[Finding], check: str) -> list[str]:
    return [finding.message for finding in findings if finding.check == check]


def assert_same(one: Corpus, other: Corpus) -> None:
    assert one.utterances.equals(other.utterances)
    for modality, sequences in one.sequences.items():
        assert np.array_equal(sequences.values, other.sequences[modality].values)
        assert np.array_equal(sequences.offsets, other.sequences[modality].offsets)


def each(content: dict[str, Any], key: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: {**part, key: change(part[key])} for name, part in content.items()}


def ragged(part: dict[str, Any], key: str) -> list[Any]:
    return [values[:length] for values, length in zip(part[key], part[f"{key}_lengths"], strict=True)]


def default(factory: Any, content: dict[str, Any]) -> dict[str, Any]:
    return defaultdict(factory, content)


SAME: dict[str, Callable[[dict[str, Any]], object]] = {
    "OrderedDict": lambda c: OrderedDict((name, OrderedDict(part)) for name, part in c.items()),
    "defaultdict": lambda c: default(dict, {name: default(list, part) for name, part in c.items()}),
    "a set named dev": lambda c: {"dev": c["valid"], "train": c["train"], "test": c["test"]},
    "float64": lambda c: each(c, "audio", lambda x: x.astype("f8")),
    "big-endian": lambda c: each(c, "audio", lambda x: x.astype(">f4")),
    "Fortran order": lambda c: each(c, "vision", np.asfortranarray),
    "objects": lambda c: each(c, "text", lambda x: x.astype(object)),
    "nested lists": lambda c: each(c, "text", lambda x: x.tolist()),
    "ragged arrays": lambda c: {name: {**part, "audio": ragged(part, "audio")} for name, part in c.items()},
    "ragged lists": lambda c: {
        name: {**part, "audio": [values.tolist() for values in ragged(part, "audio")]} for name, part in c.items()
    },
    "ragged without lengths": lambda c: {
        name: {**part, "audio": ragged(part, "audio"), "audio_lengths": None} for name, part in c.items()
    },
    "lengths as an array of floats": lambda c: each(c, "audio_lengths", lambda x: np.array(x, float)[:, None]),
    "lengths as NumPy scalars": lambda c: each(c, "audio_lengths", lambda x: [np.int64(length) for length in x]),
    "lengths that are None": lambda c: each(c, "audio_lengths", lambda _: None),
    "labels as a list of NumPy scalars": lambda c: each(c, "regression_labels", lambda x: list(x)),
    "labels in a column": lambda c: each(c, "regression_labels", lambda x: x[:, None]),
    "ids as an array of text": lambda c: each(c, "id", np.array),
    "ids as bytes": lambda c: each(c, "id", lambda x: [name.encode() for name in x]),
    "ids in a column": lambda c: each(c, "id", lambda x: np.array(x)[:, None]),
    "ids as objects": lambda c: each(c, "id", lambda x: np.array(x, dtype=object)),
    "keys of bytes": lambda c: {name.encode(): part for name, part in c.items()},
    "the layout of MulT": lambda c: {
        name: {
            **{k: v for k, v in part.items() if "label" not in k},
            "labels": part["regression_labels"][:, None, None],
        }
        for name, part in c.items()
    },
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_another_form_of_the_same_data_is_the_same_corpus(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    expected, _ = imported(tmp_path, make_content())
    assert_same(imported(tmp_path, change(make_content()))[0], expected)


def test_minus_infinity_in_audio_becomes_zero_and_is_counted(tmp_path: Path) -> None:
    content = make_content()
    content["train"]["audio"][0, 0, 1] = content["test"]["audio"][2, 0] = -np.inf
    corpus, findings = imported(tmp_path, content)
    assert corpus.sequences["a"][0][0, 1] == 0
    assert not corpus.sequences["a"][30][0].any()
    assert messages(findings, "-inf") == ["4 values of audio were -inf and are 0 now, as in the MMSA toolkit"]
    assert not messages(findings, "not a number")


def test_audio_too_small_for_float32_is_not_taken_for_minus_infinity(tmp_path: Path) -> None:
    content = make_content()
    content["train"]["audio"] = content["train"]["audio"].astype(float)
    content["train"]["audio"][0, 0, 1] = -1e300
    _, findings = imported(tmp_path, content)
    assert not messages(findings, "-inf")
    assert messages(findings, "not a number")


def damaged() -> dict[str, Any]:
    """Content with four broken utterances, each for another reason."""
    content = make_content()
    content["train"]["audio"][3, 0, 0] = np.nan
    content["train"]["vision"][4, 0, 0] = -np.inf
    content["valid"]["audio_lengths"][1] = None
    content["test"]["regression_labels"][5] = np.nan
    return content


def test_what_is_not_a_number_is_refused_with_its_ids(tmp_path: Path) -> None:
    said = refusal(tmp_path, damaged())
    assert (
        "2 of 40 utterances have a sentiment or a length that is not a finite number (video25$_$1, video51$_$5)" in said
    )
    assert "--leave-out broken" in said
    content = damaged() | {"valid": make_content()["valid"], "test": make_content()["test"]}
    errors = messages(imported(tmp_path, content)[1], "not a number")
    assert [error.partition(": ")[0] for error in errors] == ["a", "v"]
    assert [error.rpartition(": ")[2] for error in errors] == ["video0$_$3", "video1$_$4"]
    assert all("--leave-out broken" in error for error in errors)


def test_broken_utterances_can_be_left_out_and_are_counted_by_set(tmp_path: Path) -> None:
    expected, _ = imported(tmp_path, make_content())
    corpus, findings = imported(tmp_path, damaged(), leave_out=["broken"])
    broken = {3, 4, 21, 33}
    kept = [index for index in range(40) if index not in broken]
    assert corpus.names == [expected.names[index] for index in kept]
    assert corpus.labels.tolist() == expected.labels[kept].tolist()
    assert [len(corpus.folds[1][name]) for name in ("train", "validation", "test")] == [18, 7, 11]
    assert np.concatenate([corpus.folds[1][name] for name in ("train", "validation", "test")]).tolist() == list(
        range(36)
    )
    for modality, sequences in corpus.sequences.items():
        for row, index in enumerate(kept):
            assert np.array_equal(sequences[row], expected.sequences[modality][index])
    lengths, features = messages(findings, "left out")
    assert lengths.startswith("2 of 40 utterances (0 of 20 in train, 1 of 8 in validation, 1 of 12 in test)")
    assert features.startswith("2 of 38 utterances (2 of 20 in train, 0 of 7 in validation, 0 of 11 in test)")
    assert not messages(findings, "not a number")


def test_the_command_leaves_broken_utterances_out(tmp_path: Path) -> None:
    file = write(tmp_path / "x.pkl", damaged())
    command = ["import", "mmsa", str(file), "--name", "x", "--storage", str(tmp_path / "store")]
    assert "--leave-out broken" in str(CliRunner().invoke(data_app, command).exception)
    result = CliRunner().invoke(data_app, [*command, "--leave-out", "broken"])
    assert result.exit_code == 0, result.output
    assert "Imported 'x': 36 utterances" in result.output


def test_a_set_of_broken_utterances_alone_is_refused(tmp_path: Path) -> None:
    content = make_content()
    content["valid"]["audio_lengths"] = [float("nan")] * 8
    assert "no utterance in this set" in refusal(tmp_path, content, leave_out=["broken"])
    content = make_content()
    content["valid"]["audio"][:] = np.nan
    assert "no utterance in the validation set" in refusal(tmp_path, content, leave_out=["broken"])
    assert "did you mean 'broken'" in refusal(tmp_path, content, leave_out=["brokn"])


def test_lengths_beyond_the_features_are_cut_with_a_note(tmp_path: Path) -> None:
    content = make_content()
    content["train"]["audio_lengths"][0] = 50
    corpus, findings = imported(tmp_path, content)
    assert len(corpus.sequences["a"][0]) == LONGEST
    assert "1 lengths of train exceed" in messages(findings, "lengths")[0]


def test_ids_without_a_video_leave_speakers_unknown(tmp_path: Path) -> None:
    content = make_content()
    content["test"]["id"][2] = "clip-2"
    corpus, findings = imported(tmp_path, content)
    assert corpus.speakers is None
    assert "ids such as 'clip-2' do not name their video" in messages(findings, "ids")[0]


def test_ids_of_older_scripts_name_their_video(tmp_path: Path) -> None:
    expected = imported(tmp_path, make_content())[0].speakers
    bracketed = each(make_content(), "id", lambda x: [name.replace("$_$", "[") + "]" for name in x])
    assert imported(tmp_path, bracketed)[0].speakers == expected
    timed = each(make_content(), "id", lambda x: [[name.split("$_$")[0], i, i + 0.5] for i, name in enumerate(x)])
    assert imported(tmp_path, timed)[0].speakers == expected


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an empty set": (lambda c: c.update(valid={key: value[:0] for key, value in c["valid"].items()}), "no utterances"),
    "ids that repeat in a set": (lambda c: c["train"]["id"].__setitem__(3, "video0$_$1"), "within a set: video0$_$1"),
    "ids that repeat in sets": (lambda c: c["test"]["id"].__setitem__(3, "video0$_$1"), "in several sets: video0$_$1"),
    "ids that look alike": (lambda c: c["test"]["id"].__setitem__(3, "video0$_$1 "), "differ only in spaces"),
    "ids that are numbers": (lambda c: c["train"].update(id=np.arange(20.0)), "id must be text"),
    "ids that are None": (lambda c: c["train"].update(id=[None] * 20), "id must be text"),
    "ids in Latin-1": (lambda c: c["train"].update(id=[b"\xfc"] * 20), "not UTF-8"),
    "half a surrogate pair in an id": (lambda c: c["train"]["id"].__setitem__(0, "\ud800"), "not UTF-8"),
    "a blank id": (lambda c: c["train"]["id"].__setitem__(0, " "), "an id is empty"),
    "an id in itself": (lambda c: c["train"]["id"].__setitem__(0, c["train"]["id"]), "id must be text"),
    "other widths in a set": (
        lambda c: c["train"].update(audio=[np.ones((4, 3 + (i == 5))) for i in range(20)]),
        "3 features for most utterances, but 4 features for video1$_$5",
    ),
    "other widths in sets": (lambda c: c["valid"].update(audio=np.ones((8, 9, 2))), "2 features for video25$_$0"),
    "time steps of other widths": (
        lambda c: c["train"].update(audio=[[[1, 2, 3], [1, 2]], *[[[1, 2, 3]]] * 19]),
        "audio of utterance video0$_$0 must hold numbers",
    ),
    "features of text": (lambda c: c["train"].update(audio=[["a"]] * 20), "must hold numbers"),
    "no features": (lambda c: c["train"].update(audio=None), "not NoneType"),
    "a type for features": (lambda c: c["train"].update(audio=list), "must be an array or a list"),
    "features that are missing for some": (lambda c: c["train"].update(audio=np.ones((19, 9, 3))), "has 19 utterances"),
    "lengths of text": (lambda c: c["train"].update(audio_lengths="nine"), "not str"),
    "ragged lengths": (lambda c: c["train"].update(audio_lengths=[[1], [1, 2], *[[1]] * 18]), "whole numbers"),
    "a negative length": (lambda c: c["train"]["audio_lengths"].__setitem__(2, -1), "(video0$_$2)"),
    "half a time step": (lambda c: c["train"]["audio_lengths"].__setitem__(2, 1.5), "(video0$_$2)"),
    "an infinite label": (lambda c: c["train"]["regression_labels"].__setitem__(2, np.inf), "(video0$_$2)"),
    "labels of text": (lambda c: c["train"].update(regression_labels=["1"] * 20), "must be finite numbers"),
    "several labels": (lambda c: c["train"].update(regression_labels=np.ones((20, 7))), "not (20, 7)"),
    "emotions, as in MulT": (
        lambda c: (c["train"].pop("regression_labels"), c["train"].update(labels=np.zeros((20, 4, 2)))),
        "not (20, 4, 2)",
    ),
    "labels that may be classes": (
        lambda c: (c["train"].pop("regression_labels"), c["train"].update(labels=np.arange(20) % 3)),
        "may be classes",
    ),
    "a mask that is not one": (lambda c: c["train"].update(text_bert=[[1, 2], [1]]), "text_bert must be"),
    "the layout of MISA": (lambda c: c.update(train=[((["hi"], [[1]], [[1]]), [[1.0]], "x")]), "pickles of MISA"),
    "each modality apart": (lambda c: (c.update(audio=1, vision=1, text=1), c.pop("train")), "each modality apart"),
}


@pytest.mark.parametrize(("change", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_meant_is_refused_in_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    content = make_content()
    change(content)
    assert expected in refusal(tmp_path, content)
