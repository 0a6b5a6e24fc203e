"""Draws `pipeline.png`: what `ifmmin run` does with a corpus.

python docs/pictures/pipeline.py
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

INK, LINE, DATA, STAGE = "#1b2a41", "#5c6b80", "#e8eef7", "#fdebd3"
HEIGHT = 1.0
RUNS = 3
"""Runs that are drawn; the last one stands for all others."""


def box(axes: Axes, left: float, bottom: float, width: float, title: str, below: str, colour: str) -> None:
    """A titled box with a line of small print."""
    shape = FancyBboxPatch((left, bottom), width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.12", linewidth=1.2)
    shape.set(facecolor=colour, edgecolor=LINE)
    axes.add_patch(shape)
    middle = left + width / 2
    axes.text(middle, bottom + 0.66, title, ha="center", va="center", fontsize=12, weight="bold", color=INK)
    axes.text(middle, bottom + 0.28, below, ha="center", va="center", fontsize=7.6, color=INK)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": LINE, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def draw(file: Path) -> None:
    """Draw the picture and write it."""
    figure, axes = plt.subplots(figsize=(12, 4.3))
    centre = 1.5 + HEIGHT / 2
    box(axes, 0, 1.5, 2.1, "corpus", "features, labels, folds", DATA)
    for row in range(RUNS):
        bottom = 3.0 - 1.5 * row
        middle = bottom + HEIGHT / 2
        run = ("fold 1, seed 0", "fold 1, seed 1", "…")[row]
        box(axes, 3.0, bottom, 1.9, "run", run, DATA)
        arrow(axes, (2.1, centre), (3.0, middle))
        stages = (("pretrain", "all modalities"), ("train", "modalities missing"), ("evaluate", "every condition"))
        for column, (title, below) in enumerate(stages):
            left = 5.4 + 2.4 * column
            box(axes, left, bottom, 1.9, title, below, STAGE)
            arrow(axes, (left - 0.5, middle), (left, middle))
        arrow(axes, (12.1, middle), (13.0, centre))
    box(axes, 13.0, 1.5, 2.1, "table", "WA, UA, significance", DATA)
    axes.text(3.95, 4.3, "systems x folds x seeds", ha="center", fontsize=10, color=LINE)
    axes.text(8.75, 4.3, "stages: on all cores or GPUs, in parallel", ha="center", fontsize=10, color=LINE)
    axes.set(xlim=(-0.1, 15.2), ylim=(-0.1, 4.6), aspect="equal")
    axes.axis("off")
    figure.savefig(file, dpi=110, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
