"""How figures look and how they are kept: one palette, distinct without colour too, and a caption with each."""

import io
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444", "#8c510a")
"""Okabe and Ito's first, distinct for colour-blind readers; lines, markers and hatches do it in black and white."""

LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def style(index: int) -> tuple[str, str, Any]:
    """The colour, marker and line of the system with this index; no two of 64 have the same."""
    turn = index + index // len(COLOURS)
    return COLOURS[index % len(COLOURS)], MARKERS[turn % len(MARKERS)], LINES[turn % len(LINES)]


_CHARACTERS_PER_INCH = 15
_DOTS_PER_INCH = 120


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name (without ending) and its caption: what it shows, in sentences.

    Attributes:
        key: a sentence with names that the figure cannot draw, which only pages add to the caption.
    """

    name: str
    figure: Figure
    description: str
    key: str = ""

    @property
    def caption(self) -> str:
        """The caption for pages, which can show any name."""
        return f"{self.description} {self.key}".strip()

    @cached_property
    def image(self) -> bytes:
        """PNG without the caption, for pages that have their own."""
        return self._saved("png")

    @cached_property
    def files(self) -> dict[str, bytes]:
        """PNG and PDF by name, each with the caption below the figure."""
        width = int(_CHARACTERS_PER_INCH * self.figure.get_size_inches()[0])
        self.figure.supxlabel(textwrap.fill(self.description, width), x=0.01, ha="left", fontsize=8.5)
        files = {f"{self.name}.{kind}": self._saved(kind) for kind in ("png", "pdf")}
        self.figure.supxlabel("")
        return files

    def _repr_png_(self) -> bytes:
        return self.image

    def _saved(self, kind: str) -> bytes:
        stream = io.BytesIO()
        # Without a date in it, the same figure is the same file.
        metadata = {"CreationDate": None} if kind == "pdf" else None
        self.figure.savefig(stream, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)
        return stream.getvalue()


def panels(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of panels, `width` by `height` inches each."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes
