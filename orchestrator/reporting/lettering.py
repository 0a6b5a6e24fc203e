"""Labels that figures can draw: names in any script where an installed font has it, and numbers elsewhere."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib import ft2font
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager

DEFAULT = "sans-serif"
LONGEST = 20
"""Characters of a label; longer ones would leave a figure no room."""


@dataclass(frozen=True)
class Labels:
    """What a figure writes for names.

    Attributes:
        texts: a label for each name: the name, or its number from 1 where not every name can be drawn.
        families: the fonts that the labels need, as matplotlib takes them.
        key: a sentence that says which name each number stands for; empty where the labels are the names.
    """

    texts: Sequence[str]
    families: Sequence[str]
    key: str


def label(names: Sequence[str]) -> Labels:
    """The labels of names, in their order."""
    letters = "".join(names)
    families = _families(frozenset(letter for letter in letters if letter != " "))
    if families is None or max(map(len, names)) > LONGEST or not _is_arranged(letters):
        key = ", ".join(f"{number} {' '.join(name.split())}" for number, name in enumerate(names, 1))
        return Labels([str(number) for number in range(1, len(names) + 1)], (DEFAULT,), f"{key}.")
    return Labels(names, families, "")


@cache
def _families(letters: frozenset[str]) -> tuple[str, ...] | None:
    """The default font, and as few others as have the letters that it lacks; None if no installed font has one."""
    families, missing = [DEFAULT], _missing(findfont(FontProperties(family=[DEFAULT])), letters)
    for entry in sorted(fontManager.ttflist, key=_preference):
        if not missing:
            break
        left = _missing(entry.fname, missing)
        if len(left) < len(missing) and not entry.name.lstrip(".").startswith(("Last Resort", "LastResort")):
            families.append(entry.name)
            missing = left
    return None if missing else tuple(families)


def _missing(file: str, letters: Iterable[str]) -> frozenset[str]:
    """The letters that a font lacks: all of them where matplotlib cannot read it, as with fonts of coloured bitmaps."""
    try:
        font = ft2font.FT2Font(file)
        return frozenset(letter for letter in letters if not font.get_char_index(ord(letter)))
    except (OSError, RuntimeError):
        return frozenset(letters)


def _preference(entry: FontEntry) -> tuple[bool, bool, bool, str]:
    """Upright regular fonts without serifs come first."""
    return entry.style != "normal", entry.weight != 400, "Sans" not in entry.name, entry.name


def _is_arranged(letters: str) -> bool:
    """Whether matplotlib arranges these letters: before 3.11 it joined none and wrote from left to right alone."""
    joined = any(unicodedata.bidirectional(letter) in ("R", "AL") or _combines(letter) for letter in letters)
    return hasattr(ft2font, "__libraqm_version__") or not joined


def _combines(letter: str) -> bool:
    return unicodedata.category(letter).startswith("M")
