"""Records `terminal.svg`: the demo as a terminal shows it.

    python docs/pictures/terminal.py [--folds 1-2]

The command runs for real, in a fresh folder; what it prints becomes the picture.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

WIDTH = 100
FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*(?=@font-face|\.\{unique_id\})", re.DOTALL)
"""Declarations of fonts that a browser would fetch from the network."""
PROGRESS = re.compile(r"^\w+: \d+ of \d+ stages done.*\n", re.MULTILINE)
"""A terminal redraws these lines in place, and the last vanishes."""


def output_of(arguments: list[str]) -> str:
    """What the command prints."""
    environment = os.environ | {"COLUMNS": str(WIDTH), "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as folder:
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        command = [sys.executable, "-m", "ifmmin", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        return PROGRESS.sub("", done.stdout).replace(f"{folder}/", "").replace(f"file://{folder}", "")


def record(arguments: list[str], output: str, file: Path) -> None:
    """Write the picture of a terminal in which the command was typed."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    typed = " ".join(["ifmmin", *arguments])
    console.print(Text("$ ", style="green") + Text(typed, style="bold"), highlight=False)
    console.print(Text.from_ansi(output.rstrip()), highlight=False)
    console.save_svg(str(file), title="ifmmin", code_format=FONTS.sub("", CONSOLE_SVG_FORMAT), unique_id="terminal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", help="a part of them, to be quicker")
    folds = parser.parse_args().folds
    arguments = ["run", "demo", *(["--folds", folds] if folds else [])]
    record(arguments, output_of(arguments), Path(__file__).with_suffix(".svg"))


if __name__ == "__main__":
    main()
