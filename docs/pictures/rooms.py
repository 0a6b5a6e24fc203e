"""Draws `rooms.svg`: the packages from the top down, as the import-linter contracts in `pyproject.toml` order them.

python docs/pictures/rooms.py
"""

import ast
import tomllib
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[2]
INK, LINE = "#1b2a41", "#5c6b80"
COLOURS = {"orchestrator": "#e8eef7", "model": "#fdebd3", "data": "#e3f3e6"}
TITLES = {"ifmmin.__main__": "ifmmin (the command line)", "ifmmin.orchestrator.api": "ifmmin (the Python API)"}


def layers() -> list[list[str]]:
    """The modules of each layer, from the top down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (order,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[module.strip() for module in layer.split(":")] for layer in order]


def libraries() -> dict[str, list[str]]:
    """The libraries that only some modules may import, by module."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    known: dict[str, list[str]] = {}
    for contract in contracts:
        if contract["type"] == "protected":
            for module in contract["allowed_importers"]:
                known.setdefault(module, []).extend(contract["protected_modules"])
    return known


def summary(module: str) -> str:
    """The first sentence of a module's docstring."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    sentence = " ".join(text.split("\n\n")[0].split())
    return sentence.split(". ")[0].rstrip(".")


def shortened(text: str, width: int) -> str:
    """The text in one line, cut at a word where it does not fit."""
    line = ""
    for word in text.split():
        if len(f"{line} {word}") > width:
            return f"{line} …"
        line = f"{line} {word}".strip()
    return line


def draw(file: Path) -> None:
    """Draw the picture and write it."""
    rows, known = layers(), libraries()
    figure, axes = plt.subplots(figsize=(9, 0.62 * len(rows)))
    for index, layer in enumerate(rows):
        bottom = -index
        for place, module in enumerate(layer):
            width, part = 12 / len(layer), module.split(".")[1]
            shape = FancyBboxPatch((place * width, bottom), width - 0.1, 0.86, boxstyle="round,pad=0,rounding_size=0.1")
            shape.set(facecolor=COLOURS.get(part, "#eeeeee"), edgecolor=LINE, linewidth=1)
            axes.add_patch(shape)
            title = TITLES.get(module, module.removeprefix("ifmmin."))
            axes.text(place * width + 0.15, bottom + 0.55, title, fontsize=9, weight="bold", color=INK, va="center")
            if module in known:
                uses = ", ".join(dict.fromkeys(known[module]))
                right = (place + 1) * width - 0.25
                axes.text(right, bottom + 0.55, uses, fontsize=8, color=LINE, va="center", ha="right", style="italic")
            text = shortened(summary(module), round(120 / len(layer)) - 4)
            axes.text(place * width + 0.15, bottom + 0.2, text, fontsize=7.5, color=INK, va="center")
    axes.set(xlim=(-0.1, 12.1), ylim=(-len(rows) + 0.9, 1))
    axes.axis("off")
    mpl.rcParams["svg.hashsalt"] = "rooms"
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".svg"))
