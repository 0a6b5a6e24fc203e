"""The committed catalogue is that of the code, and code that differs from it never passes for the released one."""

import subprocess
import sys

import pytest

from ifmmin.orchestrator.planning import catalogue
from ifmmin.orchestrator.planning.catalogue import describe, systems, to_json
from tests import catalogue as written

REMEDY = "run `python -m tests.catalogue`"


def test_the_file_describes_the_systems_as_they_are() -> None:
    kept, current = written.released(), written.code()
    assert kept["code"] == current, REMEDY
    assert kept["source"] == catalogue.source_of_all(), REMEDY
    assert catalogue.read(kept["catalogue"]) == describe(current), REMEDY


@pytest.mark.slow  # two epochs of every system
def test_numbers_that_change_need_a_raised_version() -> None:
    numbers = written.compute_numbers()
    kept = written.released()
    assert numbers.keys() == kept["numbers"].keys(), REMEDY
    assert written.changed(numbers, kept) == [], "raise these versions"
    other = {**numbers, "if-mmin": [1.001 * value for value in numbers["if-mmin"]]}
    assert written.changed(other, kept) == ["if-mmin"]


def test_code_that_is_not_the_released_one_has_its_hash_in_the_version() -> None:
    released = written.code()
    pretended = {**released, "if-mmin": {**released["if-mmin"], "source": "another"}}
    stages = describe(pretended).systems["if-mmin"].stages
    assert stages["train"].version == f"{released['if-mmin']['version']} {released['if-mmin']['source']}"
    assert stages["pretrain"].version == released["invariance-pretraining"]["version"]


def test_systems_are_listed_without_pytorch() -> None:
    program = (
        "import sys; from ifmmin.orchestrator.planning.catalogue import systems; print(*systems());"
        "print([name for name in ('torch', 'pandas') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [" ".join(systems()), "[]"], REMEDY


def test_a_catalogue_is_the_same_after_it_was_kept() -> None:
    described = describe(written.code())
    assert catalogue.read(to_json(described)) == described
