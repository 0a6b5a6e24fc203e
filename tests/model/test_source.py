"""What counts as a change of the source that a result comes from."""

import subprocess
import sys
from types import ModuleType

import pytest

from ifmmin.data.errors import UserError
from ifmmin.model import source
from ifmmin.model.source import normalised, source_hash

PROGRAM = '''
"""A module."""

X = 1
"""What X is."""


def double(x: int) -> int:
    """Twice x."""
    return 2 * x  # why
'''


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (PROGRAM.replace("# why", "# another reason"), True),
        (PROGRAM.replace("Twice x.", "x and x again."), True),
        (PROGRAM.replace("What X is.", "Another remark."), True),
        (PROGRAM.replace("x: int", "\n    x: int,\n"), True),
        (PROGRAM.replace("2 * x", "x * 2"), False),
        (PROGRAM.replace("X = 1", "X = 1.0"), False),
        (PROGRAM.replace("double", "twice"), False),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(changed: str, same: bool) -> None:
    assert (normalised(changed) == normalised(PROGRAM)) == same


def test_a_change_counts_for_whatever_imports_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: source_hash([f"ifmmin.model.systems.{name}"]) for name in ("if_mmin", "mctn")}
    content = source._content

    def changed(module: str) -> tuple[str, tuple[str, ...]]:
        known, imports = content(module)
        return (known + "changed" if module == "ifmmin.model.imagination" else known), imports

    monkeypatch.setattr(source, "_content", changed)
    assert source_hash(["ifmmin.model.systems.if_mmin"]) != before["if_mmin"]
    assert source_hash(["ifmmin.model.systems.mctn"]) == before["mctn"]


def test_a_system_that_is_not_in_a_file_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cell", ModuleType("cell"))
    with pytest.raises(UserError, match="defined in cell, which is not a file; write it to a file"):
        source_hash(["cell"])


def test_nothing_is_imported_for_it() -> None:
    program = (
        "import sys; from ifmmin.model.source import source_hash; source_hash(['ifmmin.model.training']);"
        "print([name for name in ('torch', 'numpy', 'ifmmin.model.training') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
