from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmmin.orchestrator.planning.configuration import (
    Configuration,
    ConfigurationError,
    load_configuration,
    parse_hyperparameters,
    parse_numbers,
)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 20)), min_size=1, max_size=6))
def test_ranges_of_numbers_are_read_as_they_are_written(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in ranges)
    assert parse_numbers(text) == [n for first, more in ranges for n in range(first, first + more + 1)]


@pytest.mark.parametrize("name", ["demo", "paper"])
def test_shipped_configurations_are_valid(name: str) -> None:
    configuration = load_configuration(name, {})
    assert configuration.name == name
    assert configuration.folds == "all"


def test_the_paper_has_three_seeds() -> None:
    assert load_configuration("paper", {}).seeds == (0, 1, 2)


def test_overrides_replace_keys_and_merge_hyperparameters(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("systems: [if-mmin]\nfolds: 2-4\nparameters: {lambda2: 7, learning_rate: 1e-3}\n")
    overrides = {"seeds": "0,5", "hyperparameters": {"lambda2": 50}, "compute": {"workers": 3}}
    configuration = load_configuration(str(file), overrides)
    assert configuration.name == "mine"
    assert configuration.folds == (2, 3, 4)
    assert configuration.seeds == (0, 5)
    assert configuration.hyperparameters == {"lambda2": 50, "learning_rate": 0.001}
    assert configuration.compute.workers == 3


def test_hyperparameters_may_be_numbers_booleans_and_words(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("systems: [x]\nhyperparameters: {a: 1, b: 2.0, c: true, d: mean, e: 1e-3}\n")
    read = load_configuration(str(file), {}).hyperparameters
    assert [(value, type(value)) for value in read.values()] == [
        (1, int),
        (2.0, float),
        (True, bool),
        ("mean", str),
        (0.001, float),
    ]
    assert parse_hyperparameters(["a=1", "b=2.0", "c=true", "d=mean", "e=1e-3"]) == read


def test_hyperparameters_of_older_configurations_are_read(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("systems: [if-mmin]\nparameters: {lambda2: 7, epochs: 3}\n")
    assert load_configuration(str(file), {"hyperparameters": {"epochs": 2}}).hyperparameters == {
        "lambda2": 7,
        "epochs": 2,
    }
    recorded = {"name": "old", "systems": ["if-mmin"], "parameters": {"lambda2": 7}}
    assert Configuration.model_validate(recorded).hyperparameters == {"lambda2": 7}


def test_a_configuration_survives_being_written_and_read() -> None:
    configuration = load_configuration("paper", {"folds": "1-3", "hyperparameters": {"lambda2": 0.5, "epochs": 3}})
    assert Configuration.model_validate_json(configuration.model_dump_json()) == configuration


HOSTILE = {
    "a misspelt key": ("systms: [if-mmin]", "unknown key 'systms'; did you mean 'systems'"),
    "a misspelt key below another": (
        "systems: [if-mmin]\ncompute: {wokers: 2}",
        "unknown key 'compute.wokers'; did you mean 'workers'",
    ),
    "no systems": ("corpus: digits", "'systems' is missing"),
    "an empty list": ("systems: []", "systems"),
    "a system named twice": ("systems: [if-mmin, if-mmin]", "named twice"),
    "a fold that is not a number": ("systems: [if-mmin]\nfolds: one", "folds"),
    "a fold below one": ("systems: [if-mmin]\nfolds: [0]", "folds"),
    "a range backwards": ("systems: [if-mmin]\nfolds: 5-2", "smaller to a larger"),
    "a negative seed": ("systems: [if-mmin]\nseeds: [-1]", "seeds"),
    "a seed that is text": ("systems: [if-mmin]\nseeds: [x]", "seeds"),
    "no worker": ("systems: [if-mmin]\ncompute: {workers: 0}", "compute.workers"),
    "an unknown device": ("systems: [if-mmin]\ncompute: {device: gpu}", "compute.device"),
    "a whole store of GPUs": ("systems: [if-mmin]\ncompute: {gpu_shares: {train: 4}}", "compute.gpu_shares.train"),
    "a name that is a path": ("systems: [if-mmin]\nname: ../x", "name"),
    "a hyperparameter that is a list": (
        "systems: [if-mmin]\nhyperparameters: {lambda2: [1]}",
        "hyperparameters.lambda2",
    ),
    "a list instead of keys": ("- if-mmin", "must hold keys"),
    "broken YAML": ("systems: [if-mmin\nname: x", "not valid YAML (line 2)"),
    "an empty file": ("", "must hold keys"),
}


@pytest.mark.parametrize(("text", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_wrong_configuration_is_refused_in_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(str(file), {})
    message = str(caught.value)
    assert expected in message
    assert "wrong.yaml" in message
    assert "\n" not in message


@pytest.mark.parametrize("source", ["dmeo", "missing.yaml"])
def test_a_missing_configuration_names_those_that_are_shipped(source: str) -> None:
    with pytest.raises(ConfigurationError, match=r"demo.*paper"):
        load_configuration(source, {})


@pytest.mark.parametrize("assignment", ["lambda2", "lambda2=", "=3x", "  =1"])
def test_an_assignment_needs_a_key_and_a_value(assignment: str) -> None:
    with pytest.raises(ConfigurationError, match="key=value"):
        parse_hyperparameters([assignment])
