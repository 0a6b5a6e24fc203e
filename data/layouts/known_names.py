"""What the names of utterances say, in known corpora or by a pattern: speaker, session, dialogue, turn and others."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import CorpusError

SPEAKERS = (
    # IEMOCAP: the first part names the session, the last part who speaks (and not whose motion is captured).
    re.compile(r"^(Ses\d\d)[FM]_\w+_([FM])\d+$"),
    re.compile(r"^MSP-IMPROV-S\w+-([FM]\d\d)-\w+-\w+$"),
    re.compile(r"^d\d_(s\d)_\d{4}$"),
)
"""Known forms of utterance names; their groups, joined, are the speaker."""

DIALOGUES = (
    re.compile(r"^(?P<dialogue>Ses\d\d[FM]_(?:impro|script)\w*)_[FM](?P<turn>\d+)$"),  # IEMOCAP
    re.compile(r"^(?P<dialogue>(?:.*\D)?dia\d+)_utt(?P<turn>\d+)$"),  # MELD, with or without the set before it
)
"""Known forms of utterance names that have the dialogue and the number of the turn."""

IEMOCAP = re.compile(r"^(Ses\d\d)[FM]_(impro|script)\w*_([FM])\d+$")
MSP_SESSION = re.compile(r"^MSP-IMPROV-S\w+-[FM](\d\d)-\w+-\w+$")
"""A speaker and his partner have the number of their session."""


def add_columns(corpus: Corpus, *, speaker_pattern: str | None, dialogue_pattern: str | None) -> Corpus:
    """The corpus with the columns that its names give and that it does not have yet.

    Args:
        corpus: a column that it has stays, unless a pattern is given for it.
        speaker_pattern: a regular expression whose groups, joined, are the speaker.
        dialogue_pattern: a regular expression whose first group, or the one called `dialogue`, is the dialogue, and
            whose second, or the one called `turn`, is the number of the turn.

    Raises:
        CorpusError: a pattern is not valid or does not match every name, or a turn is not a number.
    """
    names, table = corpus.names, corpus.utterances
    present = set(table.column_names)
    columns: dict[str, Sequence[object]] = {}
    if speaker_pattern or "speaker" not in present:
        columns |= _speakers(names, speaker_pattern)
    columns |= {name: values for name, values in _sessions(names).items() if name not in present}
    if dialogue_pattern or "dialogue" not in present:
        columns |= _dialogues(names, dialogue_pattern)
    for name, values in columns.items():
        column = pa.chunked_array([pa.array(values)])
        if name in present:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    if "turn" in present and "turn" not in columns:
        table = table.set_column(table.column_names.index("turn"), "turn", pa.chunked_array([_turns(table)]))
    return replace(corpus, utterances=table)


def _speakers(names: Sequence[str], pattern: str | None) -> dict[str, list[str]]:
    known = SPEAKERS if pattern is None else (_compiled("--speaker-pattern", pattern),)
    for expression in known:
        matches = [expression.search(name) for name in names]
        if all(match and match.groups() for match in matches):
            return {"speaker": ["".join(part or "" for part in match.groups()) for match in matches if match]}
    if pattern:
        _refuse("--speaker-pattern", known[0], names)
    return {}


def _sessions(names: Sequence[str]) -> Mapping[str, list[str]]:
    """Session, gender and scenario in IEMOCAP, and the session in MSP-IMPROV.

    In Ses01F_impro02_M013 a man speaks, improvised.
    """
    matches = [IEMOCAP.match(name) for name in names]
    if all(matches):
        parts = [match.groups() for match in matches if match]
        return {
            "session": [session for session, _, _ in parts],
            "gender": ["female" if sex == "F" else "male" for _, _, sex in parts],
            "scenario": ["improvised" if kind == "impro" else "scripted" for _, kind, _ in parts],
        }
    matches = [MSP_SESSION.match(name) for name in names]
    return {"session": [match[1] for match in matches if match]} if all(matches) else {}


def _dialogues(names: Sequence[str], pattern: str | None) -> dict[str, Sequence[object]]:
    """The dialogue, and as its turn the place in it by the number in the name, then by the name."""
    known = DIALOGUES if pattern is None else (_compiled("--dialogue-pattern", pattern),)
    for expression in known:
        matches = [expression.search(name) for name in names]
        if all(match and match.groups() for match in matches):
            break
    else:
        if pattern:
            _refuse("--dialogue-pattern", known[0], names)
        return {}
    named = expression.groupindex
    first, second = named.get("dialogue", 1), named.get("turn", 2 if expression.groups > 1 else 0)
    dialogues = [match[first] or "" for match in matches if match]
    if not second:
        return {"dialogue": dialogues}
    numbers = [match[second] or "" for match in matches if match]
    for name, number in zip(names, numbers, strict=True):
        if not number.isdecimal():
            raise CorpusError(
                f"--dialogue-pattern: the turn of utterance {name} is '{number}'; it must be a whole number."
            )
    turns = [0] * len(names)
    before: Counter[str] = Counter()
    for index in sorted(range(len(names)), key=lambda index: (int(numbers[index]), names[index])):
        turns[index] = before[dialogues[index]]
        before[dialogues[index]] += 1
    return {"dialogue": dialogues, "turn": turns}


def _turns(table: pa.Table) -> pa.Array:
    """The column `turn` as numbers."""
    values = []
    for name, value in zip(table["utterance"].to_pylist(), table["turn"].to_pylist(), strict=True):
        try:
            values.append(None if value is None else float(value))
        except (TypeError, ValueError):
            raise CorpusError(f"The turn of utterance {name} is '{value}'; turns must be numbers.") from None
    return pa.array(values, pa.float64())


def _compiled(option: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise CorpusError(f"{option} {pattern} is not a valid regular expression ({error}); correct it.") from None


def _refuse(option: str, expression: re.Pattern[str], names: Sequence[str]) -> None:
    odd = next(name for name in names if not (m := expression.search(name)) or not m.groups())
    raise CorpusError(
        f"{option} {expression.pattern} matches no group in the utterance name {odd}; it must match every name."
    )
