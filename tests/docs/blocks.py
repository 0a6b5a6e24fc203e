"""The fenced blocks of README and docs, and what a comment before one says of its execution."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
COMMENT = r"<!-- (?P<kind>run as|not run):\s(?P<comment>(?:(?!-->).)*?)\s*-->\n"
BLOCK = re.compile(
    rf"(?:^{COMMENT})?^```(?P<language>sh|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        language: `sh` or `python`.
        shown: what the reader sees.
        run: what is executed: the same, or its shortened form.
        reason: why nothing is executed, where that is so.
    """

    page: str
    line: int
    language: str
    shown: str
    run: str
    reason: str | None


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page in shell or Python, in order."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, match) for match in BLOCK.finditer(text)]


def _block(page: Path, text: str, match: "re.Match[str]") -> Block:
    run = match["comment"] if match["kind"] == "run as" else match["code"]
    reason = match["comment"] if match["kind"] == "not run" else None
    line = text.count("\n", 0, match.start("language")) + 1
    return Block(str(page.relative_to(ROOT)), line, match["language"], match["code"], run, reason)


def commands_of(block: Block) -> list[list[str]]:
    """The arguments of every `ifmmin` command that a shell block shows."""
    lines = block.shown.replace("\\\n", " ").splitlines()
    calls = (re.search(r"(?:^|-m |^ray submit \S+ )\s*(?:ifmmin|ifmmin/__main__\.py) (.*)$", line) for line in lines)
    return [shlex.split(match[1], comments=True) for match in calls if match]
