"""The one family of exceptions meant for people; the command line prints their message and nothing else."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something a person can mend: one sentence that names the file or key, what is wrong, and the remedy."""


class CorpusError(UserError):
    """A corpus, or the layout it is imported from, cannot be used as it is."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the known one most like it, and all of them.

    >>> nearest("lamda2", ["lambda1", "lambda2"])
    "did you mean 'lambda2'? Known: lambda1, lambda2."
    """
    known = list(known)
    similar = difflib.get_close_matches(word, known, 1)
    return (f"did you mean '{similar[0]}'? Known" if similar else "known") + f": {', '.join(known)}."
