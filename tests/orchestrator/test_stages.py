from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ifmmin.data.corpus import Corpus, Sequences
from ifmmin.model.definition import Weights
from ifmmin.model.systems import DEFINITIONS
from ifmmin.orchestrator.execution.stages import Task, execute, execute_together
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import Run, make_plan
from ifmmin.orchestrator.planning.stage import StageResult
from tests.small import ALL_CONDITIONS, IF_MMIN, LETTERS, make_corpus

CORPUS = replace(make_corpus(), fingerprint="small")


def predictions(run: Run, corpus: Corpus, weights: Weights) -> pd.DataFrame:
    evaluation = PLAN.stages[run.evaluation]
    table: pd.DataFrame = execute(evaluation, corpus, {"train": weights}).tables["predictions"].to_pandas()
    return table


PLAN = make_plan(load_configuration(IF_MMIN, {"folds": "1", "hyperparameters": {"epochs": 2}}), CORPUS)


@pytest.fixture(scope="module")
def trained() -> Weights:
    (run,) = PLAN.runs
    pretrain = execute(PLAN.stages[run.stages["pretrain"]], CORPUS, {})
    return execute(PLAN.stages[run.stages["train"]], CORPUS, {"pretrain": pretrain.weights}).weights


def test_predictions_have_a_row_for_every_test_utterance_and_condition(trained: Weights) -> None:
    table = predictions(PLAN.runs[0], CORPUS, trained)
    test = CORPUS.folds[1].test
    assert len(table) == len(test) * 7
    for condition, part in table.groupby("condition", sort=False):
        assert condition in ALL_CONDITIONS
        assert part["utterance"].tolist() == [CORPUS.names[i] for i in test]
        assert part["label"].tolist() == CORPUS.labels[test].tolist()
    probabilities = np.stack(table["probabilities"].to_list())
    assert probabilities.shape == (len(table), 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert (probabilities.argmax(1) == table["prediction"]).all()


@pytest.mark.parametrize("modality", LETTERS)
def test_predictions_under_a_condition_do_not_depend_on_a_missing_modality(trained: Weights, modality: str) -> None:
    sequences = CORPUS.sequences[modality]
    values = sequences.values.copy()
    for index in CORPUS.folds[1].test:
        values[slice(*sequences.offsets[index : index + 2])] += 100
    other = replace(CORPUS, sequences={**CORPUS.sequences, modality: Sequences(values, sequences.offsets)})
    before, after = (predictions(PLAN.runs[0], corpus, trained) for corpus in (CORPUS, other))
    for condition in ALL_CONDITIONS:
        same = all(
            np.array_equal(x, y)
            for x, y in zip(
                before.loc[before["condition"] == condition, "probabilities"],
                after.loc[after["condition"] == condition, "probabilities"],
                strict=True,
            )
        )
        assert same == (modality not in condition)


def test_one_stage_needs_neither_ray_nor_mlflow_nor_pydantic() -> None:
    import subprocess
    import sys

    heavy = "('ray', 'mlflow', 'pydantic')"
    program = f"import sys, ifmmin.orchestrator.execution.stages; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_stages_that_do_not_stack_are_trained_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(load_configuration(IF_MMIN, {"folds": "1-2", "hyperparameters": {"epochs": 1}}), CORPUS)
    stages = [plan.stages[run.stages["pretrain"]] for run in plan.runs]
    alone = [execute(stage, CORPUS, {}).weights for stage in stages]
    name = stages[0].definition
    monkeypatch.setitem(DEFINITIONS, name, replace(DEFINITIONS[name], stackable=False))
    for result, weights in zip(execute_together([Task(stage, {}) for stage in stages], CORPUS), alone, strict=True):
        assert isinstance(result, StageResult)
        assert all(np.array_equal(result.weights[name], value) for name, value in weights.items())
