"""Output in any encoding: what a terminal, a pipe or a locale cannot show is written in plain characters instead."""

import codecs
import io
import sys
import unicodedata

_PLAIN = {"±": "+/-", "†": "*", "…": "...", "×": "x", "→": "->", "≥": ">=", "≤": "<=", "’": "'"}  # noqa: RUF001
_ERRORS = "ifmmin-plain"


def write_plainly() -> None:
    """Let standard output and error write every text, whatever their encoding."""
    codecs.register_error(_ERRORS, _in_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """An error handler for `codecs`: signs by what resembles them, letters by their code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(letter: str) -> str:
    category = unicodedata.category(letter)
    if letter in _PLAIN:
        return _PLAIN[letter]
    if category[0] in "LMNC":  # letters, marks, numbers, and bytes of file names that are not text
        return letter.encode("ascii", "backslashreplace").decode()
    return "-" if category == "Pd" else "*"
