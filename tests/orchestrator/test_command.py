"""The command line in a fresh folder, as users type it: slow because every call imports and starts Ray."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ifmmin.__main__ import main
from tests.commandline import RUN, call, completed, start, wait_at
from tests.gate import PATIENCE_S, Gate

pytestmark = pytest.mark.slow


def table_of(output: str) -> list[str]:
    return [line for line in output.splitlines() if "±" in line]


def test_a_run_is_killed_interrupted_finished_repeated_and_reported(folder: Path) -> None:
    gate = Gate(folder / "first")
    process = start(folder, *RUN, gate=gate)
    wait_at(gate, folder, process, 1)
    process.kill()
    process.communicate()
    killed = completed(folder)
    assert len(killed) == 1

    gate = Gate(folder / "second")
    process = start(folder, *RUN, gate=gate)
    wait_at(gate, folder, process, 3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, errors
    assert "Run the same command to resume" in output
    assert "Traceback" not in errors
    interrupted = completed(folder)
    assert len(interrupted) == 3
    assert killed.items() <= interrupted.items()

    status, output, errors = call(folder, *RUN)
    assert status == 0, errors
    finished = completed(folder)
    assert len(finished) == 9
    assert interrupted.items() <= finished.items()
    assert "6 stages run, 3 from the store" in output

    status, again, errors = call(folder, *RUN)
    assert status == 0, errors
    assert "0 stages run, 9 from the store" in again
    assert table_of(again) == table_of(output)
    assert completed(folder) == finished

    status, report, errors = call(folder, "report", "demo")
    assert status == 0, errors
    assert table_of(report) == table_of(output)
    assert "With one of three modalities available, if-mmin has" in output
    assert "Report: ifmmin-store/reports/demo/report.html" in output
    assert (folder / "ifmmin-store/reports/demo/report.html").read_text().startswith("<!doctype html>")
    tables = json.loads(call(folder, "report", "demo", "--format", "json")[1])
    assert {row["condition"] for row in tables["summary"]} == {"a", "v", "t", "av", "at", "vt", "average", "avt"}

    tables = json.loads(call(folder, "report", "demo", "--protocols", "random-modality", "--format", "json")[1])
    assert {row["protocol"] for row in tables["areas"]} == {"random-modality"}
    assert len(completed(folder)) == len(finished) + 3
    assert (folder / "ifmmin-store/reports/demo/report.html").read_text().startswith("<!doctype html>")

    plan = json.loads(
        call(
            folder,
            "plan",
            "demo",
            "--corpus",
            "small",
            "--systems",
            "if-mmin",
            "--set",
            "epochs=2",
            "--set",
            "lambda2=1",
            "--json",
        )[1]
    )
    assert [(row["stage"], row["in the store"], row["to run"]) for row in plan["stages"]] == [
        ("pretrain", 3, 0),
        ("train", 0, 3),
        ("evaluate", 0, 3),
    ]
    assert plan["seconds"] > 0


def changed_corpus(folder: Path) -> tuple[str, ...]:
    file = folder / "ifmmin-store" / "corpora" / "small" / "a.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return RUN


def unwritable(folder: Path) -> tuple[str, ...]:
    (folder / "ifmmin-store" / "experiments").write_text("a file where a folder should be")
    return RUN


HOSTILE: dict[str, tuple[Callable[[Path], tuple[str, ...]], str]] = {
    "no such configuration": (lambda _: ("run", "dmo"), "did you mean 'demo'"),
    "no such corpus": (lambda _: ("run", "demo", "--corpus", "smal"), "did you mean 'small'"),
    "no such system": (lambda _: ("run", "demo", "--systems", "if-mmim"), "did you mean 'if-mmin'"),
    "no such fold": (lambda _: (*RUN, "--folds", "4"), "no fold 4"),
    "no such hyperparameter": (lambda _: (*RUN, "--set", "lamda=4"), "did you mean 'lambda"),
    "no such format": (lambda _: ("report", "demo", "--format", "xml"), "known: table"),
    "no such experiment": (lambda _: ("report", "demo"), "no experiment 'demo'"),
    "a corpus changed since its import": (changed_corpus, "'small' have changed"),
    "a store that cannot be written": (unwritable, "experiments"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_mistake_is_one_sentence_with_exit_status_2(
    folder: Path, case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, expected = HOSTILE[case]
    arguments = prepare(folder)
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["ifmmin", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    output, errors = capsys.readouterr()
    assert (stopped.value.code, output) == (2, "")
    assert errors.startswith("error: ")
    assert expected in errors
    assert errors.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_debug_shows_the_traceback(folder: Path) -> None:
    status, _, errors = call(folder, "report", "demo", "--debug")
    assert status != 0
    assert "Traceback" in errors
