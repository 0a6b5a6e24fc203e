"""Names are checked and matched, labels become classes."""

import math
import unicodedata
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.naming import check_names, encode_labels, find_names, match_names

COMPOSED, DECOMPOSED = "J\u00fcrgen", "Ju\u0308rgen"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["u1", " ", ""], r"2 of 3 utterances have no name, the 2nd first"),
        (["u1", "u2", "u1"], "utterance 'u1' appears more than once"),
        (["a", "a", "b", "b", "c", "c", "d", "d"], "utterances 'a', 'b', 'c' and 1 more appear more than once"),
        (["u1", "u1 "], "'u1' and 'u1 ' differ only in spaces"),
        ([COMPOSED, DECOMPOSED], r"'Ju\\u0308rgen' and 'J\\xfcrgen' differ only in spaces or in how an accent"),
        (["u\n1"], "control character"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(CorpusError, match=f"table: .*{message}"):
        check_names(names, "table")


def test_names_may_look_like_anything_and_differ_in_case() -> None:
    check_names(
        ["001", "1", "10:30", "12e5", "0x1A", "1.10", "2021-03-05 10:00", "TRUE", "NA", "nan", "u", "U"], "table"
    )


@given(st.lists(st.text(min_size=1), unique=True))
def test_any_names_are_accepted_or_refused_with_a_message(names: list[str]) -> None:
    with suppress(CorpusError):
        check_names(names, "table")


def test_names_match_whatever_their_composition_and_spaces() -> None:
    available = [DECOMPOSED, "u1 ", "u2", "other"]
    assert match_names([COMPOSED, "u1", "u2"], available, "a") == {COMPOSED: DECOMPOSED, "u1": "u1 ", "u2": "u2"}
    assert match_names(["u", "U"], ["U", "u"], "a") == {"u": "u", "U": "U"}


@pytest.mark.parametrize(
    ("wanted", "available", "message"),
    [
        (["u1", "u2", "u3"], ["u1"], "a lacks 2 of 3 utterances, 'u2' first"),
        (["U1"], ["u1"], "a lacks 'U1', but has 'u1', which looks like it"),
        (["1", "2"], ["001", "002"], "a lacks 2 of 2 utterances, '1' first, but has '001'"),
        (["u 1"], ["u\u00a01"], r"but has 'u\\xa01'"),
        (["x", "U1"], ["u1"], "a lacks 2 of 2 utterances, 'U1' first, but has 'u1'"),
        ([COMPOSED + "!"], [f"{COMPOSED}! ", f"{DECOMPOSED}!"], "keep one of them"),
    ],
)
def test_names_that_are_missing_are_counted_and_what_looks_like_them_is_named(
    wanted: list[str], available: list[str], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        match_names(wanted, available, "a")


def test_names_that_may_be_missing_are_left_out() -> None:
    assert find_names(["u1", "u2"], ["u1", "v"], "a") == {"u1": "u1"}
    assert find_names(["u1", "U1"], ["u1"], "a") == {"u1": "u1"}  # u1 is wanted itself, so it is not meant by U1
    with pytest.raises(CorpusError, match="but has 'u01'"):
        find_names(["u1"], ["u01"], "a")


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        (["sad", "ang", "sad"], ("ang", "sad"), [1, 0, 1]),
        ([float(number) for number in range(12)], tuple(map(str, range(12))), list(range(12))),
        ([f"{number}.0" for number in range(12)], tuple(map(str, range(12))), list(range(12))),
        (["0,0", "1,0"], ("0", "1"), [0, 1]),
        ([1, 2, 5], ("1", "2", "5"), [0, 1, 2]),
        ([np.float32(1), np.int64(0)], ("0", "1"), [1, 0]),
        (["001", "10", "002"], ("001", "002", "10"), [0, 2, 1]),
        (["-1", "0", "1"], ("-1", "0", "1"), [0, 1, 2]),
        (["1.10", "1.9"], ("1.10", "1.9"), [0, 1]),
        (["12e5", "0x1A", "10:30"], ("0x1A", "10:30", "12e5"), [2, 0, 1]),
        (["1.0", "one"], ("1.0", "one"), [0, 1]),
        ([b"Freude", b"Trauer"], ("Freude", "Trauer"), [0, 1]),
        ([True, False], ("False", "True"), [1, 0]),
        ([COMPOSED, DECOMPOSED, "x"], (COMPOSED, "x"), [0, 0, 1]),
    ],
)
def test_labels_become_classes(values: Sequence[object], classes: tuple[str, ...], labels: list[int]) -> None:
    names, encoded, findings = encode_labels(values, None, "table")
    assert (names, encoded.tolist(), findings) == (classes, labels, [])
    assert encoded.dtype == np.int64


@pytest.mark.parametrize("missing", [None, "", "  ", math.nan, np.float32("nan"), "nan", "NaN"])
def test_a_missing_label_is_refused_with_the_names(missing: object) -> None:
    with pytest.raises(CorpusError, match=r"table: 1 of 3 utterances \(u2\) have (no|the) label"):
        encode_labels(["ang", missing, "sad"], None, "table", ["u1", "u2", "u3"])


@pytest.mark.parametrize(
    "labels",
    [
        ("hap", "Hap"),
        ("hap", "HAP "),
        ("very sad", "verysad"),
        ("01", "1"),
        ("0.5", "0.50"),
        ("hap", "\uff48\uff41\uff50"),
    ],
)
def test_labels_that_look_alike_are_refused_unless_the_classes_are_named(labels: tuple[str, str]) -> None:
    with pytest.raises(CorpusError, match=r"look alike.*--classes"):
        encode_labels(labels, None, "table")
    names = [label.strip() for label in labels]
    assert encode_labels(labels, names, "table")[1].tolist() == [0, 1]


def test_spaces_around_a_label_are_removed_and_pointed_out() -> None:
    classes, labels, (finding,) = encode_labels(["hap", "hap ", "sad"], None, "table")
    assert (classes, labels.tolist()) == (("hap", "sad"), [0, 0, 1])
    assert finding.severity == "warning"
    assert "1 label has spaces around the name ('hap ' first)" in finding.message


@pytest.mark.parametrize("label", ["NA", "None", "null"])
def test_a_label_that_often_stands_for_nothing_is_a_class_and_pointed_out(label: str) -> None:
    classes, _, (finding,) = encode_labels(["sad", label], None, "table")
    assert label in classes
    assert label in finding.message
    assert encode_labels(["sad", label], [label, "sad"], "table")[2] == []


def test_classes_name_the_labels_and_their_order() -> None:
    classes, labels, _ = encode_labels(["sad", "ang"], ["sad", "ang", "hap"], "table")
    assert (classes, labels.tolist()) == (("sad", "ang", "hap"), [0, 1])


@pytest.mark.parametrize(("values", "labels"), [([0, 1], [0, 1]), (["1.0", "2.0", "3"], [0, 1, 2]), ([1, 2], [1, 2])])
def test_whole_numbers_are_positions_among_the_classes(values: Sequence[object], labels: list[int]) -> None:
    _, encoded, (note,) = encode_labels(values, ["ang", "hap", "sad"], "table")
    assert encoded.tolist() == labels
    assert f"{values[0]}"[0] + " is " in note.message


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        (["Hap", "sad"], ["hap", "sad"], r"the label 'Hap' \('hap' looks like it\) is not among --classes hap,sad"),
        (["a", "b", "c"], ["c"], "the labels 'a', 'b' are not among"),
        ([0, 1, 5], ["a", "b"], "the labels '0', '1', '5' are not among"),
        ([-1, 1], ["a", "b"], "not among"),
        (["a"], ["a", " "], "blank name"),
        (["a"], ["a", "a"], "names a twice"),
        (list(map(str, range(1001))), None, "1,001 different labels, 0, 1, 2 and 998 more"),
    ],
)
def test_labels_that_cannot_be_classes_are_refused(
    values: Sequence[object], classes: list[str] | None, message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        encode_labels(values, classes, "table")


@given(st.lists(st.sampled_from(["ang", "hap", "sad", "neu"]), min_size=1), st.booleans())
def test_each_label_is_the_class_of_its_name(values: list[str], composed: bool) -> None:
    written = [unicodedata.normalize("NFC" if composed else "NFD", f"{value}\u00e9") for value in values]
    classes, labels, _ = encode_labels(written, None, "table")
    assert [classes[label] for label in labels] == [f"{value}\u00e9" for value in values]
    assert list(classes) == sorted(set(classes))
