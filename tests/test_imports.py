"""Light commands open at once: each runs in a process of its own that says which heavy modules it has imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import write_corpus
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import load_configuration
from tests.small import make_corpus

HEAVY = ("torch", "ray", "mlflow", "matplotlib", "sklearn", "scipy", "optuna", "pandas")

COMMAND = f"""
import json, sys
from ifmmin.__main__ import main
sys.argv[1:] = json.loads(sys.argv[1])
try:
    main()
except SystemExit as stopped:
    assert not stopped.code, stopped.code
finally:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""

LIGHT = {
    "help": ("--help",),
    "version": ("--version",),
    "help of run": ("run", "--help"),
    "data list": ("data", "list"),
    "data describe": ("data", "describe", "small"),
    "systems": ("systems",),
    "systems as JSON": ("systems", "--json"),
    "plan": ("plan", "demo", "--corpus", "small"),
    "status": ("status", "demo"),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with an experiment that has begun."""
    folder = tmp_path_factory.mktemp("begun")
    store = folder / "ifmmin-store"
    write_corpus(make_corpus(), folder_for("small", store))
    Experiment.of(load_configuration("demo", {"corpus": "small", "storage": str(store)})).record()
    return folder


@pytest.mark.parametrize("case", LIGHT)
def test_a_light_command_imports_nothing_heavy(begun: Path, case: str) -> None:
    command = [sys.executable, "-c", COMMAND, json.dumps(LIGHT[case])]
    result = subprocess.run(command, cwd=begun, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "[]\n", "if torch is among them, model/ or data/ changed: run `python -m tests.catalogue`"


def test_the_public_api_is_imported_without_what_its_functions_need() -> None:
    program = f"import sys, ifmmin; print([name for name in (*{HEAVY}, 'pyarrow', 'rich') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
