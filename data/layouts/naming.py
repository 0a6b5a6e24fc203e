"""Names and labels as people write them: names are checked and matched, labels become classes, alike in every layout.

Names are text. Two that differ in surrounding spaces or in the composition of an accent (Unicode, é in one character or
in two) cannot be told apart by a reader, so they are one name; names that differ in case are different names.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.audit import Finding
from ifmmin.data.errors import CorpusError, listed

_DOUBTFUL = ("na", "n/a", "none", "null", "#n/a")
"""What programs write where a value is missing, but also plausible names of classes."""

_DECIMAL = re.compile(r"[-+]?\d+(?:[.,]\d*)?", re.ASCII)
_WHOLE = re.compile(r"([-+]?\d+)[.,]0*", re.ASCII)
_MOST = 1000
"""Classes; more are measurements or descriptions."""

_FEW = 3
"""How many names a message lists."""


def normalise(name: str) -> str:
    """A name without surrounding spaces, its accents composed (Unicode NFC)."""
    return unicodedata.normalize("NFC", name).strip()


def text_of(value: object) -> str | None:
    """A value as the text of a name, whole floats as integers; None where it is missing: empty, None or NaN.

    >>> [text_of(value) for value in ("001", 7, 7.0, 0.5, b"sad", "  ", float("nan"))]
    ['001', '7', '7', '0.5', 'sad', None, None]

    Raises:
        UnicodeDecodeError: bytes are not UTF-8.
    """
    if value is None or value != value or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text if text.strip() else None


def check_names(names: Sequence[str], source: str) -> None:
    """Check that names of utterances are present, printable and distinct.

    Names that differ in case are distinct, because `match_names` compares case whatever the file system does.

    Args:
        source: the file, for the message.

    Raises:
        CorpusError: names are blank or contain a line break or another control character, or two are the same, exactly
            or after `normalise`.
    """
    blank = [index for index, name in enumerate(names) if not name.strip()]
    if blank:
        raise CorpusError(
            f"{source}: {len(blank):,} of {len(names):,} utterances have no name, the {_ordinal(blank[0] + 1)} first; "
            "name every utterance."
        )
    broken = [name for name in names if any(unicodedata.category(character) in ("Cc", "Cs") for character in name)]
    if broken:
        raise CorpusError(
            f"{source}: {_names_of(broken)} {_plural(broken, 'contains', 'contain')} a line break or another control "
            "character; rename the utterances."
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CorpusError(
            f"{source}: {_names_of(twice)} {_plural(twice, 'appears', 'appear')} more than once; every name must be "
            "unique."
        )
    if alike := look_alikes(names, normalise):
        pairs = listed([f"{first!a} and {second!a}" for first, second, *_ in alike], most=_FEW)
        raise CorpusError(
            f"{source}: {pairs} differ only in spaces or in how an accent is composed, so they cannot be told apart; "
            "rename one of each."
        )


def find_names(wanted: Sequence[str], available: Iterable[str], source: str) -> dict[str, str]:
    """For each wanted name that is available, exactly or after `normalise`, the available one.

    Args:
        source: where the names are available, for the message.

    Raises:
        CorpusError: a name is available in several spellings; or it is not, but one that looks like it and is not
            wanted itself, such as U1 or u001 for u1.
    """
    matches, alike = _compare(wanted, available, source)
    if alike:
        raise CorpusError(f"{source} lacks {_counted(list(alike), wanted)}{_look_alike(alike)}; write both the same.")
    return matches


def match_names(wanted: Sequence[str], available: Iterable[str], source: str) -> dict[str, str]:
    """For each wanted name the available one that is the same, exactly or after `normalise`.

    Args:
        source: where the names are available, for the message.

    Raises:
        CorpusError: names are missing, or available in several spellings.
    """
    matches, alike = _compare(wanted, available, source)
    missing = [name for name in wanted if name not in matches]
    if missing:
        first = [*alike, *(name for name in missing if name not in alike)]
        remedy = "write both the same" if alike else "add what is missing, or leave it out"
        raise CorpusError(f"{source} lacks {_counted(first, wanted)}{_look_alike(alike)}; {remedy}.")
    return matches


def _compare(wanted: Sequence[str], available: Iterable[str], source: str) -> tuple[dict[str, str], dict[str, str]]:
    """Wanted names that are available; and, for others, an available one that looks like it and is not wanted."""
    choices = _Choices(available)
    matches = {name: match for name in wanted if (match := choices.match(name, source)) is not None}
    rest = choices.without(matches.values())
    missing = (name for name in wanted if name not in matches)
    return matches, {name: other for name in missing if (other := rest.alike(name)) is not None}


def _counted(missing: Sequence[str], wanted: Sequence[str]) -> str:
    if len(missing) == 1:
        return _shown(missing[0])
    return f"{len(missing):,} of {len(wanted):,} utterances, {_shown(missing[0])} first"


def _look_alike(alike: Mapping[str, str]) -> str:
    return f", but has {_shown(next(iter(alike.values())))}, which looks like it" if alike else ""


def whole_number(text: str) -> int | None:
    """A whole number, also as programs write it that know only fractions; None if it is something else.

    >>> [whole_number(text) for text in ("3", "3.0", "3,0", "03", "3.5", "three")]
    [3, 3, 3, 3, None, None]
    """
    match = re.fullmatch(r"([-+]?\d{1,18})(?:[.,]0*)?", text.strip(), re.ASCII)
    return int(match[1]) if match else None


class _Choices:
    """Available names, by what they are the same as and what they look like."""

    def __init__(self, available: Iterable[str]) -> None:
        self._exact = set(available)
        self._same = defaultdict(list)
        self._alike: dict[str, str] = {}
        for name in sorted(self._exact):
            self._same[normalise(name)].append(name)
            self._alike.setdefault(_loosely(name), name)

    def match(self, name: str, source: str) -> str | None:
        if name in self._exact:
            return name
        same = self._same.get(normalise(name), [])
        if len(same) > 1:
            raise CorpusError(
                f"{source} has {same[0]!a} and {same[1]!a} for {_shown(name)}, which differ only in spaces or "
                "in how an accent is composed; keep one of them."
            )
        return same[0] if same else None

    def without(self, names: Iterable[str]) -> "_Choices":
        return _Choices(self._exact.difference(names))

    def alike(self, name: str) -> str | None:
        return self._alike.get(_loosely(name))


def look_alikes(names: Iterable[str], key: Callable[[str], object] | None = None) -> list[list[str]]:
    """Groups of different names that look alike, such as S1 and s1, or 1 and 01.

    Args:
        key: what names that look alike have in common; by default their text in lower case, without spaces and zeros
            at the start of numbers.
    """
    groups = defaultdict(list)
    for name in sorted(set(names)):
        groups[(key or _loosely)(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def encode_labels(
    values: Sequence[object], classes: Sequence[str] | None, source: str, names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], NDArray[np.int64], list[Finding]]:
    """Names of the classes, each utterance's label (its class's number), and what should be known about them.

    Classes are the labels in use: in numerical order where all are numbers, else in alphabetical order. Whole numbers
    are written without `.0`. Surrounding spaces are removed, with a finding; labels that then still look alike, such as
    `hap` and `Hap`, are refused unless `classes` names both.

    Args:
        values: text, bytes or numbers; None, NaN and blank text are missing.
        classes: names in label order, or one text in which commas separate them; whole numbers may then also be
            positions in it, from 0, or from 1 where the largest label is the number of classes.
        source: the file, for messages.
        names: of the utterances, for messages.

    Raises:
        CorpusError: an utterance has no label, labels look alike or are not in `classes`, or `classes` has blank or
            repeated names.
    """
    texts, findings = _labels_as_text(values, source, names)
    used = sorted(set(texts))
    numeric = all(_DECIMAL.fullmatch(text) for text in used)
    if classes is not None:
        chosen = _check_classes(classes)
        places, note = _places_in(chosen, used, source, numeric=numeric)
        return chosen, np.array([places[text] for text in texts], dtype=np.int64), findings + note
    if missing := [text for text in used if text.lower() == "nan"]:
        rows = [index for index, text in enumerate(texts) if text in missing]
        raise CorpusError(_unlabelled(rows, texts, source, names, f"the label {missing[0]}, which is not a class"))
    if numeric:
        used.sort(key=lambda text: (_number(text), text))
    if len(used) > _MOST:
        raise CorpusError(
            f"{source} has {len(used):,} different labels, {listed(used, most=_FEW)}; a corpus has at most {_MOST:,} "
            "classes."
        )
    _refuse_alike(used, source, numeric=numeric)
    findings += [
        Finding("warning", "classes", f"'{text}' is taken for a class, though it often stands for a missing label")
        for text in used
        if text.lower() in _DOUBTFUL
    ]
    places = {text: index for index, text in enumerate(used)}
    return tuple(used), np.array([places[text] for text in texts], dtype=np.int64), findings


def _labels_as_text(
    values: Sequence[object], source: str, names: Sequence[str] | None
) -> tuple[list[str], list[Finding]]:
    """Labels without spaces, and whole numbers without `.0` if all are numbers."""
    try:
        raw = [text_of(value) for value in values]
    except UnicodeDecodeError:
        raise CorpusError(f"{source} has a label that is not UTF-8 text; export it again.") from None
    missing = [index for index, text in enumerate(raw) if text is None]
    if missing:
        raise CorpusError(_unlabelled(missing, raw, source, names, "no label"))
    present = [text for text in raw if text is not None]
    texts = [normalise(text) for text in present]
    spaced = [text for text in present if text != text.strip()]
    findings = []
    if spaced:
        what = f"{len(spaced):,} {_plural(spaced, 'label has', 'labels have')} spaces around the name"
        findings.append(Finding("warning", "classes", f"{what} ('{spaced[0]}' first), which were removed"))
    if all(_DECIMAL.fullmatch(text) for text in texts):
        whole = [_WHOLE.fullmatch(text) for text in texts]
        if all(match or text.lstrip("+-").isdigit() for match, text in zip(whole, texts, strict=True)):
            texts = [match[1] if match else text for match, text in zip(whole, texts, strict=True)]
    return texts, findings


def _unlabelled(
    rows: Sequence[int], texts: Sequence[object], source: str, names: Sequence[str] | None, what: str
) -> str:
    examples = f" ({listed([names[index] for index in rows], most=_FEW)})" if names is not None else ""
    return (
        f"{source}: {len(rows):,} of {len(texts):,} utterances{examples} have {what}; add their labels, or leave these "
        "utterances out."
    )


def _refuse_alike(used: Sequence[str], source: str, *, numeric: bool) -> None:
    if alike := look_alikes(used, _number if numeric else _loosely):
        raise CorpusError(
            f"{source}: the labels {' and '.join(map(_shown, alike[0]))} look alike, but would be different classes; "
            "write them the same, or name all classes with --classes if they are different."
        )


def _check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    classes = classes.split(",") if isinstance(classes, str) else classes
    chosen = tuple(map(normalise, classes))
    if not all(chosen):
        raise CorpusError(f"--classes {','.join(classes)} has a blank name; every class needs one.")
    if twice := [name for name, count in Counter(chosen).items() if count > 1]:
        raise CorpusError(f"--classes {','.join(classes)} names {twice[0]} twice; every name must be unique.")
    return chosen


def _places_in(
    classes: tuple[str, ...], used: Sequence[str], source: str, *, numeric: bool
) -> tuple[dict[str, int], list[Finding]]:
    """The number of each label among the classes: by its name, or, if it is a whole number, by its position."""
    places = {text: classes.index(text) for text in used if text in classes}
    unknown = [text for text in used if text not in places]
    if not unknown:
        return places, []
    if numeric and not places and all(text.isdigit() for text in used):
        numbers = {text: int(text) for text in used}
        first = int(min(numbers.values()) >= 1 and max(numbers.values()) == len(classes))
        if max(numbers.values()) - first < len(classes):
            shown = ", ".join(f"{text} is {classes[number - first]}" for text, number in numbers.items())
            return (
                {text: number - first for text, number in numbers.items()},
                [Finding("note", "classes", f"{shown}, as --classes orders them")],
            )
    similar = next((name for name in classes if _loosely(name) == _loosely(unknown[0])), None)
    hint = f" ({_shown(similar)} looks like it)" if similar else ""
    shown = listed([_shown(text) for text in unknown], most=_FEW)
    raise CorpusError(
        f"{source}: the {_plural(unknown, 'label', 'labels')} {shown}{hint} "
        f"{_plural(unknown, 'is', 'are')} not among --classes {','.join(classes)}; name all classes."
    )


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _loosely(name: str) -> str:
    """What names that look alike have in common: other case, width, spaces, zeros at the start of numbers."""
    text = "".join(unicodedata.normalize("NFKC", name).casefold().split())
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def _shown(name: str) -> str:
    """A name in quotes; escaped where a reader could not see what it is made of."""
    return f"'{name}'" if name == normalise(name) and name.isprintable() else ascii(name)


def _names_of(names: Sequence[str]) -> str:
    return f"{_plural(names, 'utterance', 'utterances')} {listed([_shown(name) for name in names], most=_FEW)}"


def _plural(names: Sequence[object], one: str, several: str) -> str:
    return one if len(names) == 1 else several


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{suffix}"
