"""The model in MLflow against `predict` and the stored predictions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import infer_and_parse_data, predictions_to_json
from mlflow.tracking import MlflowClient

import ifmmin
from ifmmin.data.layouts.table import read_features, read_utterances
from ifmmin.model.ensemble import predict_utterances
from ifmmin.orchestrator.analysis.trained_runs import trained_runs
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.tracking.models import NAME, log_model, read_runs, write_runs
from tests.orchestrator.conftest import PROBABILITIES, assert_stored, inputs_of
from tests.small import LETTERS


@pytest.fixture(scope="module")
def served(client: MlflowClient, trained: Experiment) -> Any:
    """The model of the three runs, as MLflow loads it."""
    run_id = client.create_run(client.create_experiment("served")).info.run_id
    for _ in range(2):  # the second time it is there
        log_model(client, run_id, trained_runs(trained, trained.plan.runs), "these runs")
    outputs = client.get_run(run_id).outputs
    assert outputs is not None
    assert len(outputs.model_outputs) == 1
    return mlflow.pyfunc.load_model(f"runs:/{run_id}/{NAME}")


def request(root: Path, **params: object) -> str:
    """What a client sends: the utterances of a folder, as JSON."""
    names = read_utterances(root)["utterance"].to_pylist()
    features = read_features(root, names, LETTERS)
    parts = {m: [None if part is None else part.tolist() for part in parts_of] for m, parts_of in features.items()}
    rows = [{"utterance": name, **{m: parts[m][i] for m in parts}} for i, name in enumerate(names)]
    return json.dumps({"dataframe_records": rows, "params": params})


def ask(model: Any, body: str) -> pd.DataFrame:
    """What the server does with a request, and the client with the answer."""
    content = json.loads(body)
    inputs = infer_and_parse_data({"dataframe_records": content["dataframe_records"]})
    answer = model.predict(inputs, params=content["params"])
    sent = _Text()
    predictions_to_json(answer, sent)  # type: ignore[no-untyped-call]
    return pd.DataFrame(json.loads(sent.content)["predictions"])


class _Text:
    content = ""

    def write(self, text: str) -> None:
        self.content += text


def test_the_served_model_answers_with_the_stored_predictions_to_the_bit(
    trained: Experiment, served: Any, tmp_path: Path
) -> None:
    root = inputs_of(trained.corpus, 2, tmp_path / "inputs")
    assert_stored(ask(served, request(root, fold=2, seed=0, every_condition=True)), trained, 2)


def test_the_served_model_answers_what_predict_writes_with_modalities_missing(
    trained: Experiment, served: Any, tmp_path: Path
) -> None:
    root = inputs_of(trained.corpus, 1, tmp_path / "inputs")
    names = read_utterances(root)["utterance"].to_pylist()
    (root / "a" / f"{names[0]}.npy").unlink()
    (root / "t" / f"{names[1]}.npy").unlink()
    runs = trained_runs(trained, trained.plan.runs)
    expected = predict_utterances(runs, names, read_features(root, names, LETTERS))
    predicted = ask(served, request(root)).astype(dict.fromkeys(PROBABILITIES, np.float32))
    pd.testing.assert_frame_equal(predicted, expected, check_exact=True, check_dtype=False)
    assert predicted["condition"].tolist()[:3] == ["vt", "av", "avt"]
    alone = served.predict(pd.DataFrame({"utterance": ["x"], "t": [np.ones((2, 5)).tolist()]}))
    assert alone["condition"].tolist() == ["t"]


def test_what_the_served_model_cannot_answer_is_refused_in_one_sentence(served: Any) -> None:
    utterance = {"utterance": ["x"]}
    for columns, why in (
        ({"v": [None]}, r"No utterance has a modality \(x\)"),
        ({"v": [[]]}, r"No utterance has a modality \(x\)"),
        ({"v": [[[1.0, None, 1.0, 1.0]]]}, "NaN or infinite features: x in v"),
        ({"v": [3]}, "v must be time steps"),
        ({"v": ["loud"]}, "v must be time steps"),
        ({"v": [[[]]]}, "modality v has 0 features"),
        ({"v": [[[1.0, 2.0]]]}, "modality v has 2 features; the trained runs expect 4"),
        ({"v": [[[1.0], [1.0, 2.0]]]}, "v must be time steps"),
    ):
        with pytest.raises(MlflowException, match=why):
            served.predict(pd.DataFrame({**utterance, **columns}))
    with pytest.raises(MlflowException, match="No run of the model has this fold"):
        served.predict(pd.DataFrame({**utterance, "v": [np.ones((2, 4)).tolist()]}), params={"fold": 9})


def test_numbers_in_a_request_may_be_whole_or_fractions_and_names_numbers(served: Any) -> None:
    def answer(*rows: dict[str, object]) -> pd.DataFrame:
        return ask(served, json.dumps({"dataframe_records": rows, "params": {}}))

    steps: list[list[float]] = [[3, 0, 2, 1], [1, 1, 0, 5]]
    whole = answer({"utterance": "x", "v": steps}, {"utterance": "y", "v": steps})
    fractions = answer({"utterance": "x", "v": [[float(x) for x in step] for step in steps]})
    mixed = answer({"utterance": "x", "v": [[3.0, 0, 2, 1], [1, 1.0, 0, 5]]})
    pd.testing.assert_frame_equal(whole[:1], fractions)
    pd.testing.assert_frame_equal(whole[:1], mixed)
    assert answer({"utterance": 7, "v": steps})["utterance"].tolist() == ["7"]


def test_what_a_request_lacks_is_missing_and_an_utterance_without_anything_has_no_row(served: Any) -> None:
    v, t = [[1, 2, 3, 4]], [[0, 0, 1, 0, 0]]
    records = [
        {"utterance": "both", "v": v, "t": t},
        {"utterance": "empty", "v": [], "t": t},
        {"utterance": "null", "v": None, "t": t},
        {"utterance": "absent", "v": v},
        {"utterance": "nothing", "v": [], "t": None},
    ]
    predicted = ask(served, json.dumps({"dataframe_records": records, "params": {}}))
    assert dict(zip(predicted["utterance"], predicted["condition"], strict=True)) == {
        "both": "vt",
        "empty": "t",
        "null": "t",
        "absent": "v",
    }


def test_networks_of_each_condition_survive_being_written(trained: Experiment, tmp_path: Path) -> None:
    translated = Experiment.recorded("translated", trained.store.location)
    (run,) = trained_runs(translated, translated.plan.runs)
    write_runs([run], tmp_path / "model")
    (read,) = read_runs(tmp_path / "model")
    for one, other in zip(run.weights, read.weights, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
    scalars = ("fold", "seed", "definition", "hyperparameters", "precision", "dimensions", "lengths")
    assert [getattr(read, name) for name in scalars] == [getattr(run, name) for name in scalars]


ANOTHER_PROJECT = """
import sys
import data, model
import mlflow.pyfunc, pandas

served = mlflow.pyfunc.load_model(sys.argv[1])
answer = served.predict(pandas.DataFrame({"utterance": ["x"], "t": [[[1.0] * 5]]}))
import ifmmin
assert data.MINE and model.MINE
assert not {"ray", "matplotlib", "sklearn"} & set(sys.modules)
print(ifmmin.__file__, *answer["condition"])
"""


@pytest.mark.slow  # MLflow is imported once more
@pytest.mark.usefixtures("served")
def test_a_served_model_runs_its_own_code_beside_another_projects_data_and_model(
    client: MlflowClient, tmp_path: Path
) -> None:
    experiment = client.get_experiment_by_name("served")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.outputs is not None
    (output,) = run.outputs.model_outputs
    (tmp_path / "data").mkdir()
    for file in ("data/__init__.py", "model.py"):
        (tmp_path / file).write_text("MINE = True")
    script = tmp_path / "serve.py"
    script.write_text(ANOTHER_PROJECT)
    process = subprocess.run(
        [sys.executable, script, f"models:/{output.model_id}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    package, condition = process.stdout.split()
    assert not Path(package).is_relative_to(Path(ifmmin.__file__).parent)
    assert condition == "t"
