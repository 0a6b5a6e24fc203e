"""Draws `rooms.svg`: the packages from the top down, as the import-linter contracts in `pyproject.toml` order them.

python docs/pictures/rooms.py
"""

import ast
import textwrap
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
    return sentence.split(". ")[0].rstrip(".").replace("`", "")


def draw(file: Path) -> None:
    """Draw the picture and write it."""
    rows, known = layers(), libraries()
    figure, axes = plt.subplots(figsize=(9, 0.62 * len(rows)))
    top = 1.0
    for layer in rows:
        texts = [textwrap.wrap(summary(module), 124 // len(layer)) for module in layer]
        height = 0.56 + 0.3 * max(len(lines) for lines in texts)
        for place, (module, lines) in enumerate(zip(layer, texts, strict=True)):
            left, width, part = place * 12 / len(layer), 12 / len(layer) - 0.1, module.split(".")[1]
            shape = FancyBboxPatch((left, top - height), width, height, boxstyle="round,pad=0,rounding_size=0.1")
            shape.set(facecolor=COLOURS.get(part, "#eeeeee"), edgecolor=LINE, linewidth=1)
            axes.add_patch(shape)
            title = TITLES.get(module, module.removeprefix("ifmmin."))
            axes.text(left + 0.15, top - 0.31, title, fontsize=9, weight="bold", color=INK, va="center")
            if module in known:
                uses, right = ", ".join(dict.fromkeys(known[module])), left + width - 0.15
                axes.text(right, top - 0.31, uses, fontsize=8, color=LINE, va="center", ha="right", style="italic")
            for line, text in enumerate(lines):
                axes.text(left + 0.15, top - 0.66 - 0.3 * line, text, fontsize=7.5, color=INK, va="center")
        top -= height + 0.14
    axes.set(xlim=(-0.1, 12.1), ylim=(top, 1.1))
    axes.axis("off")
    mpl.rcParams["svg.hashsalt"] = "rooms"
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".svg"))
