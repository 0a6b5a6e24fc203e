from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmmin.orchestrator.planning.catalogue import systems
from ifmmin.orchestrator.planning.configuration import (
    Configuration,
    Range,
    load_configuration,
    parse_hyperparameters,
    parse_numbers,
)
from ifmmin.orchestrator.planning.configuration_file import ConfigurationError
from ifmmin.orchestrator.planning.plan import PlanError, resolve_hyperparameters


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
    "a negative fold": ("systems: [if-mmin]\nfolds: [-1]", "folds"),
    "a range backwards": ("systems: [if-mmin]\nfolds: 5-2", "from the smaller to the larger number, 2-5"),
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
    "nothing but a comment": ("# later\n", "must hold keys"),
    "a word instead of keys": ("if-mmin", "must hold keys"),
    "no value for systems": ("systems:", "'systems' is missing"),
    "a hyperparameter without a value": (
        "systems: [x]\nhyperparameters: {lambda2: }",
        "hyperparameters.lambda2 is empty",
    ),
    "hyperparameters that are a list": ("systems: [x]\nhyperparameters: [a]", "hyperparameters cannot be ['a']"),
    "a word for a section": ("systems: [x]\ncompute: fast", "compute cannot be 'fast': it needs keys with values"),
    "both names of hyperparameters": ("systems: [x]\nhyperparameters: {a: 1}\nparameters: {b: 1}", "join them"),
    "folds as times": ("systems: [x]\nfolds: 1:3", "folds cannot be '1:3': numbers are written as 1-3,5"),
    "folds as times in a list": ("systems: [x]\nfolds: [12:30]", "folds cannot be ['12:30']"),
    "an open range": ("systems: [x]\nseeds: 0-", "numbers are written as 1-3,5"),
    "numbers between spaces": ("systems: [x]\nseeds: 0 1 2", "numbers are written as 1-3,5"),
    "a huge range": ("systems: [x]\nfolds: 1-999999999999", "at most 10,000 numbers"),
    "a huge number": (f"systems: [x]\nfolds: {'9' * 5000}", "numbers are written as 1-3,5"),
    "a seed beyond 32 bits": ("systems: [x]\nseeds: [4294967296]", "less than or equal to 4294967295"),
    "a fold named twice": ("systems: [x]\nfolds: 1-3,2", "2 is named twice"),
    "a key that appears twice": ("systems: [x]\nseeds: 1\nseeds: 2", "(line 3): 'seeds' appears twice"),
    "a hyperparameter that appears twice": (
        "systems: [x]\nhyperparameters:\n  epochs: 1\n  epochs: 2",
        "(line 4): 'epochs' appears twice",
    ),
    "a tab": ("systems: [x]\nhyperparameters:\n\tepochs: 1", "(line 3): it is indented with a tab"),
    "several documents": ("systems: [x]\n---\nsystems: [y]", "(line 2): it holds several documents"),
    "a control character": ("systems: [x]\nname: a\x07", "U+0007 (line 2)"),
    "a Python object": ("systems: !!python/name:os.system", "not valid YAML (line 1)"),
    "a list in itself": ("systems: &a [*a]", "systems cannot be"),
    "deep nesting": (f"systems: {'[' * 5000}", "nested too deeply"),
    "an infinite range": (
        "systems: [x]\nsearch: {space: {lambda2: {low: 1, high: 1e400}}}",
        "search.space.lambda2.high",
    ),
    "a range that is text": ("systems: [x]\nsearch: {space: {lambda2: 1-7}}", "write a range as {low: 1, high: 7}"),
    "one value to choose": ("systems: [x]\nsearch: {space: {lambda2: [1]}}", "a list of at least two values"),
    "a range of one value": ("systems: [x]\nsearch: {space: {lambda2: {low: 1, high: 1}}}", "low must be below high"),
    "an unknown key of a range": ("systems: [x]\nsearch: {space: {lambda2: {low: 1, hihg: 2}}}", "did you mean 'high'"),
    "a name in another script": ("systems: [x]\nname: größe", "name cannot be 'größe'; choose one of"),
    "a long name": (f"systems: [x]\nname: {'a' * 101}", "at most 100 letters"),
    "a name that ends in a line break": ('systems: [x]\nname: "a\\n"', "name cannot be"),
}


@pytest.mark.parametrize(("text", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_wrong_configuration_is_refused_in_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text, encoding="utf-8")
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


@pytest.mark.parametrize("section", ["parameters", "hyperparameters", "compute", "search", "folds", "seeds", "name"])
@pytest.mark.parametrize("nothing", ["", "~", "null", "# later"])
def test_a_key_with_nothing_after_it_is_as_if_it_were_not_there(tmp_path: Path, section: str, nothing: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"systems: [if-mmin]\n{section}: {nothing}\n")
    changes = {"hyperparameters": {"epochs": 1}, "compute": {"workers": 2}, "search": {"trials": 3}}
    without = load_configuration({"name": "mine", "systems": ["if-mmin"]}, changes)
    assert load_configuration(str(file), changes) == without
    assert load_configuration(str(file), {}).name == "mine"


@pytest.mark.parametrize("systems", ["if-mmin, mmin", "[if-mmin, mmin]", "\n- if-mmin\n- mmin"])
def test_systems_may_be_a_list_or_words(tmp_path: Path, systems: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"systems: {systems}\n")
    assert load_configuration(str(file), {}).systems == ("if-mmin", "mmin")


def test_scalars_are_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: 2024-01-02\ncorpus: 010\nsystems: no\nfolds: [1-2, 010]\nhyperparameters: {a: no, b: off, c: 010, "
        "d: 1e3, e: 12:30, f: 2024-01-02, g: 1_0, h: .5, i: TRUE, j: '7'}\n"
    )
    read = load_configuration(str(file), {})
    assert (read.name, read.corpus, read.systems, read.folds) == ("2024-01-02", "010", ("no",), (1, 2, 10))
    expected = ["no", "off", 10, 1000.0, "12:30", "2024-01-02", "1_0", 0.5, True, 7]
    assert list(read.hyperparameters.values()) == expected


def test_anchors_and_merges_are_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "systems: [x]\nfolds: &some [1, 2]\nseeds: *some\n"
        "search: {space: {a: &range {low: 1, high: 2}, b: {<<: *range, high: 3}}}\n"
    )
    read = load_configuration(str(file), {})
    assert read.folds == read.seeds == (1, 2)
    assert read.search is not None
    assert read.search.space == {"a": Range(low=1, high=2), "b": Range(low=1, high=3)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_files_are_read_whichever_way_they_are_encoded(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes("# für später\r\nsystems: [if-mmin]\r\n".encode(encoding))
    assert load_configuration(str(file), {}).systems == ("if-mmin",)


@pytest.mark.parametrize("encoding", ["latin-1", "gbk", "utf-16-le"])
def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes("systems: [x]\nname: Größe\n".replace("öß", "é" if encoding == "gbk" else "öß").encode(encoding))
    with pytest.raises(ConfigurationError, match=r"mine\.yaml .*\(line [12]\).* UTF-8\."):
        load_configuration(str(file), {})


@pytest.mark.parametrize("name", ["my study (1)", "größe", "-x", "a" * 120])
def test_a_file_that_cannot_name_an_experiment_asks_for_a_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.yaml"
    file.write_text("systems: [if-mmin]\n")
    with pytest.raises(ConfigurationError, match=r"the name of the file.* with --name, or with the key name"):
        load_configuration(str(file), {})
    assert load_configuration(str(file), {"name": "mine"}).name == "mine"


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-inf", "1e400", "1_0", "1,5", "٣", "0x10", "no", "12:30", "9" * 400, "9" * 5000]
)
def test_a_value_that_is_not_a_finite_number_is_refused_before_anything_is_planned(value: str) -> None:
    for name in ("epochs", "lambda2"):
        assigned = parse_hyperparameters([f"{name}={value}"])
        with pytest.raises(PlanError, match=f"{name} is .*; it must be"):
            resolve_hyperparameters([systems()["if-mmin"]], assigned)


def test_whole_numbers_may_be_written_with_an_exponent() -> None:
    resolved = resolve_hyperparameters([systems()["if-mmin"]], parse_hyperparameters(["epochs=1e2"]))
    assert resolved["if-mmin"]["train"]["epochs"] == 100


@pytest.mark.parametrize(
    ("text", "rates"),
    [(0.3, {"all": 0.3}), ("0.3", {"all": 0.3}), ("a=0.1, v=0.5", {"a": 0.1, "v": 0.5}), ({"t": 1}, {"t": 1.0})],
)
def test_rates_of_what_is_removed_in_training_are_for_all_or_by_modality(text: object, rates: object) -> None:
    assert load_configuration("demo", {"train_missing": text}).train_missing == rates


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3", "demo: train_missing cannot be 3: input should be less than or equal to 1."),
        ("much", "train_missing cannot be 'much': write a rate from 0 to 1, such as 0.3, or one for each modality"),
        ("nan", "train_missing cannot be 'nan': write a rate from 0 to 1"),
        ("a=0.1,a=0.2", "a is named twice"),
        ({"a": "x"}, "train_missing.a cannot be 'x': it needs a number."),
    ],
)
def test_rates_that_are_none_are_refused_in_a_sentence(text: object, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_configuration("demo", {"train_missing": text})
    assert sentence in str(raised.value)


def test_rates_replace_those_of_the_file() -> None:
    changed = load_configuration({"systems": ["mmin"], "train_missing": {"a": 0.5}}, {"train_missing": {"v": 0.1}})
    assert changed.train_missing == {"v": 0.1}
