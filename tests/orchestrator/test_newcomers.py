"""Systems that are not the package's are planned, trained and evaluated as those that are."""

from pathlib import Path

import numpy as np
import pytest

from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import Plan, PlanError, make_plan
from ifmmin.orchestrator.store import Store
from tests.model.newcomers import NEWCOMERS
from tests.orchestrator.conftest import run_in_this_process
from tests.small import ALL_CONDITIONS, make_corpus

CORPUS = make_corpus()


pytestmark = pytest.mark.usefixtures("newcomers")


def plan_of(system: str, **hyperparameters: int | str | bool) -> Plan:
    changes = {"systems": [system], "folds": "1", "hyperparameters": {"epochs": 1, "batch_size": 8, **hyperparameters}}
    return make_plan(load_configuration("demo", changes), CORPUS)


@pytest.mark.parametrize("system", NEWCOMERS)
def test_a_newcomer_is_planned_trained_and_evaluated(system: str, tmp_path: Path) -> None:
    plan, store = plan_of(system), Store(tmp_path)
    run_in_this_process(plan, CORPUS, store)
    (run,) = plan.runs
    predictions = store.read_table(run.evaluation, "predictions").to_pandas()
    assert len(predictions) == len(ALL_CONDITIONS) * len(CORPUS.folds[1].test)
    assert np.isfinite(np.stack(predictions["probabilities"].to_list())).all()


def test_a_mixture_starts_from_each_of_its_experts() -> None:
    plan = plan_of("experts")
    (run,) = plan.runs
    names = ["expert-a", "expert-v", "expert-t"]
    assert list(run.stages) == [*names, "train", "evaluate"]
    assert plan.stages[run.stages["train"]].upstream == {name: run.stages[name] for name in names}


def test_words_and_booleans_are_planned_and_refused_before_anything_runs() -> None:
    plan = plan_of("words", activation="tanh", wide=True)
    assert (plan.hyperparameters["words"]["activation"], plan.hyperparameters["words"]["wide"]) == ("tanh", True)
    assert set(plan.stages).isdisjoint(plan_of("words").stages)
    for wrong in ({"activation": "tahn"}, {"wide": 1}):
        with pytest.raises(PlanError, match="words, train: "):
            plan_of("words", **wrong)
