"""The public Python API, as a script and as a notebook use it; slow for Ray's start-up."""

import os
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbclient import NotebookClient

import ifmmin
from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import write_corpus
from ifmmin.orchestrator.api import Result, SearchResult
from tests.data.test_table import write_tables
from tests.gate import PATIENCE_S
from tests.orchestrator.conftest import inputs_of
from tests.small import make_corpus

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

NOTEBOOK = Path(__file__).parent / "notebooks" / "api.ipynb"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    location = str(tmp_path_factory.mktemp("api") / "store")
    write_corpus(make_corpus(), folder_for("small", location))
    return location


@pytest.fixture(scope="module")
def result(storage: str) -> Result:
    return ifmmin.run(
        {"name": "api", "corpus": "small"},
        systems="mmin,if-mmin",
        folds=[1, 2],
        hyperparameters={"epochs": 2},
        workers=2,
        storage=storage,
        track=False,
        progress=False,
    )


@pytest.mark.slow
def test_an_experiment_has_its_results_as_frames(result: Result) -> None:
    assert result.table.loc["WA"].index.tolist() == ["mmin", "if-mmin"]
    assert result.table.columns.tolist() == ["a", "v", "t", "av", "at", "vt", "average", "avt"]
    assert len(result.scores) == 2 * 2 * 8
    runs = result.scores.query("system == 'mmin' and condition == 'av'")
    assert result.table.loc[("WA", "mmin"), "av"] == pytest.approx(100 * runs["wa"].mean())
    assert len(result.predictions) == 2 * 2 * 7 * 16
    assert set(result.history["stage"]) == {"pretrain", "train"}
    assert result.comparison is not None
    assert result.comparison["system"].unique().tolist() == ["mmin"]
    assert (result.failed, result.name, result.corpus.name) == ({}, "api", "small")
    assert result.report is not None
    assert Path(result.report).is_file()
    assert "mmin" in result._repr_html_()


@pytest.mark.slow
def test_figures_are_those_of_matplotlib(result: Result) -> None:
    assert {"scores_by_condition", "if-mmin/confusion_matrices"} <= result.figures.keys()
    assert all(isinstance(drawing.figure, Figure) for drawing in result.figures.values())


@pytest.mark.slow
def test_what_has_run_can_be_loaded(result: Result, storage: str) -> None:
    loaded = ifmmin.load("api", storage=storage, against="mmin")
    assert isinstance(loaded, Result)
    pd.testing.assert_frame_equal(loaded.table, result.table)
    assert loaded.comparison is not None
    assert loaded.comparison["system"].unique().tolist() == ["if-mmin"]


@pytest.mark.slow
def test_new_utterances_are_predicted(result: Result, storage: str, tmp_path: Path) -> None:
    inputs = inputs_of(result.corpus, 1, tmp_path / "inputs")
    frame = ifmmin.predict("api", inputs, system="if-mmin", fold=1, storage=storage)
    stored = result.predictions.query("system == 'if-mmin' and fold == 1 and condition == 'avt'")
    classes = [result.corpus.classes[index] for index in stored["prediction"]]
    assert frame["prediction"].tolist() == classes


@pytest.mark.slow
def test_a_search_has_its_trials_as_a_frame(storage: str) -> None:
    searched = ifmmin.search(
        {"name": "found", "corpus": "small", "systems": ["if-mmin"]},
        space={"lambda2": [1.0, 100.0]},
        trials=2,
        folds="1-2",
        hyperparameters={"epochs": 1},
        workers=2,
        storage=storage,
        track=False,
        progress=False,
    )
    assert sorted(searched.trials["trial"].unique()) == [1, 2]
    assert searched.best is not None
    assert searched.best["lambda2"] in (1.0, 100.0)
    assert {"response", "parallel_coordinates"} == searched.figures.keys()
    loaded = ifmmin.load("found", storage=storage)
    assert isinstance(loaded, SearchResult)
    assert loaded.record == searched.record


def test_one_run_is_trained_in_this_process_without_ray(storage: str) -> None:
    trained = ifmmin.train("fusion", "small", hyperparameters={"epochs": 2}, storage=storage)
    assert trained.history["epoch"].tolist() == [1, 2]
    assert len(trained.predictions) == 7 * 16
    assert set(trained.weights) == {"pretrain"}
    full = trained.scores.set_index("condition").loc["avt", "wa"]
    rows = trained.predictions.query("condition == 'avt'")
    assert full == np.mean(rows["label"] == rows["prediction"])


def test_errors_are_those_of_the_command_line(storage: str) -> None:
    with pytest.raises(ifmmin.UserError, match="did you mean 'small'"):
        ifmmin.run("demo", corpus="smal", storage=storage)
    with pytest.raises(ifmmin.UserError, match="did you mean 'if-mmin'"):
        ifmmin.train("if-mmim", "small", storage=storage)
    with pytest.raises(ifmmin.UserError, match="holds no experiment 'nothing'"):
        ifmmin.load("nothing", storage=storage)


def test_a_corpus_is_imported_and_opened(tmp_path: Path) -> None:
    root = write_tables(tmp_path / "tables", make_corpus())
    imported = ifmmin.import_table(root, "mine", storage=str(tmp_path / "store"))
    opened = ifmmin.open_corpus("mine", storage=str(tmp_path / "store"))
    assert (opened.fingerprint, opened.names) == (imported.fingerprint, imported.names)
    with pytest.raises(ifmmin.UserError, match="'mine' already exists"):
        ifmmin.import_table(tmp_path / "not read", "mine", storage=str(tmp_path / "store"))


class WatchedNotebook(NotebookClient):
    """A notebook being executed, with all that its cells show on the way."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.updates: list[str] = []

    def process_message(self, message: Any, cell: Any, cell_index: int) -> Any:
        if message["msg_type"] == "update_display_data":
            self.updates.append(message["content"]["data"]["text/html"])
        return super().process_message(message, cell, cell_index)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(make_corpus(), folder_for("small", tmp_path / "ifmmin-store"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    client = WatchedNotebook(notebook, timeout=PATIENCE_S, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds
    for progress in ("stages done", "of 2 trials"):
        assert any(progress in update for update in client.updates)
