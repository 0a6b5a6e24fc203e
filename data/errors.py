"""Exceptions with a message for the user; the command line prints it without a traceback."""

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """An error the user can fix; its message is a sentence on what is wrong, in which file or key, and what to do."""


class CorpusError(UserError):
    """A corpus, or the files it is imported from, cannot be used."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the most similar known word, and all known words.

    >>> nearest("lamda2", ["lambda1", "lambda2"])
    "did you mean 'lambda2'? Known: lambda1, lambda2."
    """
    known = list(known)
    similar = difflib.get_close_matches(word, known, 1)
    return (f"did you mean '{similar[0]}'? Known" if similar else "known") + f": {', '.join(known)}."


def listed(names: Sequence[str], most: int = 50) -> str:
    """Names in a sentence, and how many more there are than it can hold.

    >>> listed(["u1", "u2", "u3"]), listed(["u1", "u2", "u3"], most=2)
    ('u1, u2, u3', 'u1, u2 and 1 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
