"""The blocks of README and docs run, shortened where a comment says how, in a folder with a small corpus."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import Corpus, write_corpus
from ifmmin.orchestrator.commands import app
from tests.data.layout import write_layout
from tests.docs.blocks import DOCS, PAGES, Block, blocks_of, commands_of
from tests.gate import PATIENCE_S
from tests.orchestrator.conftest import inputs_of
from tests.small import make_corpus

BLOCKS = {str(page.relative_to(DOCS.parent)): blocks_of(page) for page in PAGES}
RUN = {page: runnable for page, blocks in BLOCKS.items() if (runnable := [b for b in blocks if b.reason is None])}
SHOWN = [block for blocks in BLOCKS.values() for block in blocks if block.language == "sh"]
PAPER = """
import ifmmin

ifmmin.run("paper", corpus="iemocap", systems="mmin,if-mmin", folds="1-2", seeds="0",
           hyperparameters={"epochs": 2}, workers=2, track=False, progress=False)
"""
"""An experiment, without its report and its runs in MLflow: blocks of the pages write those."""


def corpus_of_the_pages() -> Corpus:
    return replace(make_corpus(), name="iemocap")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with what the pages assume: a corpus, feature files, new utterances and an experiment."""
    folder = tmp_path_factory.mktemp("prepared")
    corpus = write_corpus(corpus_of_the_pages(), folder_for("iemocap", folder / "ifmmin-store"))
    subprocess.run([sys.executable, DOCS / "examples" / "make_corpus.py"], cwd=folder, check=True)
    inputs_of(corpus, 1, folder / "interviews")
    write_layout(folder / "features" / "IEMOCAP", repeat_last_fold=True)
    subprocess.run([sys.executable, "-c", PAPER], cwd=folder, check=True)
    return folder


def execute(block: Block, folder: Path) -> None:
    """Run a block as a reader would."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    environment = clean | {"PATH": path, "PYTHONPATH": str(DOCS / "examples"), "MPLBACKEND": "agg"}
    command = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, block.run], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, f"{block.page}:{block.line}\n{block.run}\n{done.stdout}{done.stderr}"


@pytest.mark.slow  # every page starts Ray some times
@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run_one_after_the_other(page: str, prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    shutil.copytree(prepared, folder)
    if page.endswith("own-corpus.md"):
        shutil.rmtree(folder / "mycorpus")  # the page makes it
    for block in RUN[page]:
        execute(block, folder)


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: f"{block.page}:{block.line}")
def test_every_command_that_is_shown_exists_with_its_options(block: Block) -> None:
    for arguments in commands_of(block):
        command: Any = get_command(app)
        rest = arguments
        while hasattr(command, "commands"):
            assert rest[0] in command.commands, f"there is no command {' '.join(arguments)}"
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context("ifmmin", list(rest)).close()


def test_what_is_not_run_says_why() -> None:
    reasons = [block.reason for blocks in BLOCKS.values() for block in blocks if block.reason is not None]
    assert all(len(reason.split()) >= 3 for reason in reasons)
