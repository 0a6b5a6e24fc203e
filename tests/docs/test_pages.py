"""What holds of all pages: they are those of the code, they are short, and their links and examples work."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ifmmin
from tests.docs.blocks import DOCS, PAGES, ROOT, blocks_of
from tests.small import make_corpus

README_WORDS = 700


def load(file: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[file.stem] = module  # where the source of an imported system is looked up
    specification.loader.exec_module(module)
    return module


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS


REFERENCE = load(DOCS / "reference.py")


@pytest.mark.parametrize("name", REFERENCE.PAGES)
def test_the_reference_is_that_of_the_code(name: str) -> None:
    written = (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")
    assert written == REFERENCE.PAGES[name]() + "\n", "run `python docs/reference.py`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_a_page_links_to_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith(("http://", "https://"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_no_page_or_picture_fetches_from_the_network() -> None:
    pictures = [file for file in (DOCS / "pictures").glob("*.svg") if 'url("http' in file.read_text(encoding="utf-8")]
    assert pictures == []


@pytest.mark.parametrize("example", ["my_system", "experts"])
def test_an_example_of_a_system_learns(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifmmin.data.catalogue.find_corpus", lambda name, storage: make_corpus())  # noqa: ARG005
    file = str(DOCS / "examples" / f"{example}.py")
    trained = ifmmin.train(file, "small", hyperparameters={"epochs": 40, "batch_size": 8, "learning_rate": 2e-3})
    scores = trained.scores.set_index("condition")["wa"]
    assert scores["avt"] > 0.6  # chance is a third


@pytest.mark.parametrize(
    ("page", "example"), [("add-a-system", "my_system"), ("add-a-system", "experts"), ("own-corpus", "make_corpus")]
)
def test_a_tutorial_shows_its_example_as_it_is(page: str, example: str) -> None:
    shown = {block.shown for block in blocks_of(DOCS / "tutorials" / f"{page}.md")}
    assert (DOCS / "examples" / f"{example}.py").read_text(encoding="utf-8") in shown
