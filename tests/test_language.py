"""Words that read as translated, or name nothing, occur nowhere in code, messages and docs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("data", "model", "orchestrator", "tests", "docs", ".github", ".ci")
BESIDE_THEM = ("*.cff", "*.md", "*.toml", "*.yaml", "*.yml", "Makefile", "ifmmin/*.py")
WITH_EXAMPLES = ("tests/test_language.py",)
"""The file that holds the banned words themselves."""

SUFFIXES = {"", ".cff", ".html", ".ipynb", ".md", ".py", ".toml", ".yaml", ".yml"}

BANNED = {
    "a translated negative: say 'is not a'": r"\b(?!there\b)\w+[^\w\s]* (?:is|are|was|were) no\b"
    r"(?! (?:longer|more|less|fewer|other)\b)",
    "comes to": r"\bwhat (?:it|they|this|that|(?:an? |the )?\w+) comes? to\b|\bcomes? to (?:the same|what)\b",
    "told": r"\btold\b(?! apart\b)|_told_(?!apart)",
    "mend": r"\bmend(?:s|ed|ing)?\b",
    "goes on from": r"\bgo(?:es)? on from there\b",
    "hyper-parameter": r"\bhyper[- ]parameters?\b",
    "settings for hyperparameters": r"\b(?:best|searched|default) settings?\b",
    "in vain": r"\bin vain\b",
    "American spelling": r"\b(?:un)?(?:initiali|minimi|maximi|normali|organi|randomi|recogni|regulari|seriali|standardi"
    r"|summari|utili|visuali)z(?:e[sd]?|ing|ations?)\b(?!\()|\bbehaviors?\b",
}
"""What is wrong, and a pattern for it that leaves good English alone."""

NAMES = {"asked", "found", "given", "items", "own", "told"}
"""They say nothing of what a thing is; pytest and the interface of dictionaries alone name things so."""

NOT_OURS = {("tests/conftest.py", "items"), ("tests/orchestrator/test_store.py", "items")}


def texts() -> list[Path]:
    """All files that people write or read."""
    in_folders = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES)
    beside = (path for pattern in BESIDE_THEM for path in ROOT.glob(pattern))
    written = {path for path in (*in_folders, *beside) if path.is_file() and "__pycache__" not in path.parts}
    return sorted(written - {ROOT / name for name in WITH_EXAMPLES})


def occurrences(pattern: str, text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and lines; a phrase may be broken over two lines."""
    for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.IGNORECASE):
        yield text.count("\n", 0, match.start()) + 1, match[0]


def names_in(source: str) -> Iterator[tuple[int, str]]:
    """The names that a program gives to variables, arguments, attributes, functions and classes."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name


def test_pages_messages_and_templates_are_among_the_texts() -> None:
    names = {str(path.relative_to(ROOT)) for path in texts()}
    assert names >= {
        ".ci/run",
        ".github/pull_request_template.md",
        "CITATION.cff",
        "README.md",
        "docs/index.md",
        "ifmmin/version.py",
        "orchestrator/reporting/templates/report.html",
        "tests/notebooks/api.ipynb",
    }


@pytest.mark.parametrize("pattern", BANNED.values(), ids=BANNED.keys())
def test_no_text_has_a_banned_phrase(pattern: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {phrase}"
        for path in texts()
        for line, phrase in occurrences(pattern, path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_called_by_a_word_that_says_nothing() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in texts()
        if path.suffix == ".py"
        for line, name in names_in(path.read_text(encoding="utf-8"))
        if name.strip("_") in NAMES and (str(path.relative_to(ROOT)), name) not in NOT_OURS
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no corpus 'x'.",
        "the statistics file is no longer needed",
        "hypothesis.settings(deadline=None)",
        "torch.cuda.is_initialized()",
        "Search the hyperparameters",
        "it comes to mind",
        "two names that cannot be told apart",
    ],
)
def test_good_english_is_left_alone(sentence: str) -> None:
    assert not [pattern for pattern in BANNED.values() if list(occurrences(pattern, sentence))]


@pytest.mark.parametrize(
    "sentence",
    [
        "'x' is no list of numbers",
        "What a stage comes to",
        "This comes to what the paper says",
        "mend the file",
        "the hyper-parameters",
        "it is told at once",
    ],
)
def test_translated_english_is_noticed(sentence: str) -> None:
    assert [pattern for pattern in BANNED.values() if list(occurrences(pattern, sentence))]
