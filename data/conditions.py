"""Conditions: which modalities of an utterance are available."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal, TypeAlias

from ifmmin.data.errors import CorpusError, nearest


class Condition(str):
    """A set of available modalities, written with their letters in the order of the corpus.

    >>> Condition("av").available
    ('a', 'v')
    """

    __slots__ = ()

    @property
    def available(self) -> tuple[str, ...]:
        """The letters of the available modalities."""
        return tuple(self)


ConditionSet: TypeAlias = Literal["all", "missing", "single"]
"""Names of sets of conditions, whatever the corpus: `single` are those of one available modality."""


def full_condition(letters: Iterable[str]) -> Condition:
    """The condition in which all modalities are available.

    >>> full_condition("avt")
    'avt'
    """
    return Condition("".join(letters))


def missing_conditions(letters: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions in which a modality is missing, by their number of modalities; one modality has none.

    For three they are in the order of Table 1 of Zuo et al. (ICASSP 2023).

    >>> missing_conditions("avt")
    ('a', 'v', 't', 'av', 'at', 'vt')
    """
    return tuple(
        Condition("".join(available)) for size in range(1, len(letters)) for available in combinations(letters, size)
    )


def all_conditions(letters: Sequence[str]) -> tuple[Condition, ...]:
    """The missing conditions, and then the full one.

    >>> all_conditions("at")
    ('a', 't', 'at')
    """
    return (*missing_conditions(letters), full_condition(letters))


def conditions_of(which: ConditionSet | None, letters: Sequence[str]) -> tuple[Condition, ...]:
    """A set of conditions by its name; without a name, none.

    >>> conditions_of("single", "avt")
    ('a', 'v', 't')
    """
    if which is None:
        return ()
    if which == "single":
        return tuple(map(Condition, letters))
    return missing_conditions(letters) if which == "missing" else all_conditions(letters)


def mask_of(condition: Condition, letters: Sequence[str]) -> tuple[bool, ...]:
    """True where a modality is available, in the order of the corpus.

    >>> mask_of(Condition("at"), "avt")
    (True, False, True)
    """
    return tuple(letter in condition for letter in letters)


def missing_of(condition: Condition, letters: Sequence[str]) -> tuple[str, ...]:
    """The letters of the missing modalities, in the order of the corpus.

    >>> missing_of(Condition("a"), "avt")
    ('v', 't')
    """
    return tuple(letter for letter in letters if letter not in condition)


def parse_condition(text: str, letters: Sequence[str]) -> Condition:
    """A condition as people write it, its letters in any order.

    >>> parse_condition("ta", "avt")
    'at'

    Raises:
        CorpusError: the corpus has no such modality, or none is available.
    """
    if not text or len(set(text)) < len(text) or not set(text) <= set(letters):
        raise CorpusError(f"There is no condition '{text}'; {nearest(text, all_conditions(letters))}")
    return Condition("".join(letter for letter in letters if letter in text))
