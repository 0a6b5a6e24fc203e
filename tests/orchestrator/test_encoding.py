"""Output where the locale is not UTF-8, or the terminal is narrow."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from rich.console import Console

from ifmmin.orchestrator.analysis.scores import columns_of
from ifmmin.orchestrator.reporting.formats import rich_table

PROGRAM = """
import sys
from ifmmin.orchestrator.commands.encoding import write_plainly
write_plainly()
print("62.0 ±1.2† – größe 高兴 \\udcff")
print("error: fold ≥ 3…", file=sys.stderr)
"""  # noqa: RUF001


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "gbk", "utf-8"])
def test_every_text_can_be_written_in_any_encoding(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True)
    output, errors = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert output.startswith("62.0 ")
    assert "\\udcff" in output
    assert "error: fold" in errors
    if encoding == "ascii":
        assert output.startswith("62.0 +/-1.2* - gr\\xf6\\xdfe \\u9ad8\\u5174")
        assert errors.strip() == "error: fold >= 3..."


def test_a_plan_is_shown_in_a_plain_and_narrow_terminal() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "40", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "ifmmin", "plan", "demo", "--corpus", "digits"],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert "no earlier stage in the store shows how long they take." in " ".join(done.stdout.decode().split())


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_number_of_the_table_is_cut(width: int, encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"runs": 3, "folds": 3, "seeds": 1, "utterances": 9, "wa": 0.62, "ua": 0.61, "wa_std": 0.012, "ua_std": 0.013}
    systems, columns = ("if-mmin-no-cascade", "fusion"), columns_of("avt")
    summary = pd.DataFrame([{"system": system, "condition": c, **row} for system in systems for c in columns])

    class _Plain(Console):
        @property
        def encoding(self) -> str:
            return encoding

    _Plain(width=width).print(rich_table(summary, title="demo on digits"))
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert shown.count("62.0") == shown.count("61.0") == len(systems) * len(columns)
    assert shown.count("1.2") == shown.count("1.3") == len(systems) * len(columns)
    assert all(len(line) <= width for line in shown.splitlines())
