from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ifmmin.data.errors import UserError
from ifmmin.model.history import Checkpoint, Epoch
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import make_plan
from ifmmin.orchestrator.planning.stage import Stage, StageResult
from ifmmin.orchestrator.store import Store, StoreError
from tests.small import IF_MMIN, make_corpus


@pytest.fixture
def stage() -> Stage:
    return next(iter(make_plan(load_configuration(IF_MMIN, {}), make_corpus()).stages.values()))


@pytest.fixture
def result() -> StageResult:
    weights = {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "layer.bias": np.ones((), np.float32)}
    return StageResult(weights, {"history": pa.table({"epoch": [1, 2], "loss/inv": [0.5, 0.25]})}, 1.5)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_read_again(tmp_path: Path, stage: Stage, result: StageResult) -> None:
    store = Store(tmp_path / "store")
    assert store.completed([stage.key]) == set()
    store.write_stage(stage, result)
    assert store.completed([stage.key, "another"]) == {stage.key}
    assert store.stage_keys() == [stage.key]
    weights = store.read_weights(stage.key)
    assert weights.keys() == result.weights.keys()
    assert all(np.array_equal(weights[name], value) for name, value in result.weights.items())
    assert store.read_table(stage.key, "history").equals(result.tables["history"])
    assert store.read_record(stage.key)["seconds"] == 1.5
    assert Stage.recorded(store.read_record(stage.key)["stage"]) == stage


def test_a_stage_in_the_words_of_the_first_stores_is_read(stage: Stage) -> None:
    first = {**vars(stage), "recipe": stage.definition, "parameters": stage.hyperparameters, "upstream": ["a", "b"]}
    del first["definition"], first["hyperparameters"]
    assert Stage.recorded(first) == replace(stage, upstream={"0": "a", "1": "b"})


def test_a_checkpoint_is_kept_until_its_stage_is_done(tmp_path: Path, stage: Stage, result: StageResult) -> None:
    store, arrays = Store(tmp_path), {"network/w": np.ones((2, 2), np.float32), "optimizer/0/step": np.array(3.0)}
    checkpoint = Checkpoint(arrays, (Epoch(1, 1e-3, {"total": 0.5}, 0.25, 1 / 3, 2.0),), "cpu")
    assert store.read_checkpoint(stage.key) is None
    store.write_checkpoint(stage.key, checkpoint)
    assert store.completed([stage.key]) == set()
    read = store.read_checkpoint(stage.key)
    assert read is not None
    assert (read.history, read.device) == (checkpoint.history, "cpu")
    assert all(read.arrays[name].tobytes() == value.tobytes() for name, value in arrays.items())
    (file,) = tmp_path.rglob("checkpoint*")
    file.write_bytes(file.read_bytes()[:-5])
    assert store.read_checkpoint(stage.key) is None
    store.write_stage(stage, result)
    assert not list(tmp_path.rglob("checkpoint*"))


def test_a_uri_names_the_same_store(tmp_path: Path, stage: Stage, result: StageResult) -> None:
    Store(tmp_path).write_stage(stage, result)
    assert Store(tmp_path.as_uri()).completed([stage.key]) == {stage.key}


def test_a_stage_counts_only_once_its_record_is_there(tmp_path: Path, stage: Stage, result: StageResult) -> None:
    store = Store(tmp_path)

    class CrashError(Exception):
        pass

    class Broken(dict[str, pa.Table]):
        def items(self) -> list[tuple[str, pa.Table]]:  # type: ignore[override]
            raise CrashError

    with pytest.raises(CrashError):
        store.write_stage(stage, StageResult(result.weights, Broken(), 1.0))
    assert files(tmp_path) == {f"stages/{stage.key}/weights.safetensors"}
    assert store.completed([stage.key]) == set()
    store.write_stage(stage, result)
    assert store.completed([stage.key]) == {stage.key}


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, stage: Stage, result: StageResult) -> None:
    (tmp_path / "stages").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path).write_stage(stage, result)
    assert files(tmp_path) == {"stages"}


@pytest.mark.parametrize("name", ["weights.safetensors", "history.parquet", "stage.json"])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, stage: Stage, result: StageResult, name: str) -> None:
    store = Store(tmp_path)
    store.write_stage(stage, result)
    file = tmp_path / "stages" / stage.key / name
    file.write_bytes(file.read_bytes()[:20])
    reads: dict[str, Callable[[], object]] = {
        "weights.safetensors": lambda: store.read_weights(stage.key),
        "history.parquet": lambda: store.read_table(stage.key, "history"),
        "stage.json": lambda: store.read_record(stage.key),
    }
    with pytest.raises(StoreError) as caught:
        reads[name]()
    assert name in str(caught.value)
    assert "run again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("location", ["file/store", "gopher://x/y", "s3://key:secret@bucket/store"])
def test_a_store_that_cannot_be_is_refused_when_the_experiment_is_recorded(tmp_path: Path, location: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="torage"):
        Store(location if "://" in location else tmp_path / location).write_experiment("demo", {})


def test_an_unknown_experiment_names_the_known_ones(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="no experiment 'paper'; run it first with ifmmin run"):
        store.read_experiment("paper")
    store.write_experiment("demo", {"configuration": {}})
    with pytest.raises(StoreError, match="no experiment 'paper'; known: demo"):
        store.read_experiment("paper")
    assert store.read_experiment("demo") == {"configuration": {}}
    store.write_search("searched", {})
    with pytest.raises(StoreError, match="that is the name of a search: ifmmin ui searched shows its trials"):
        store.read_experiment("searched")
