import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmmin.data.corpus import Corpus, Fold, compute_fingerprint
from ifmmin.orchestrator.planning.configuration import Configuration, load_configuration
from ifmmin.orchestrator.planning.plan import Plan, PlanError, make_plan, resolve_train_missing, stages_to_run
from ifmmin.orchestrator.planning.stage import Stage
from tests.small import ALL_CONDITIONS, IF_MMIN, ONE, make_corpus

CORPUS = make_corpus()


def configure(**overrides: object) -> Configuration:
    return load_configuration(IF_MMIN, overrides)


def plan_of(corpus: Corpus = CORPUS, **overrides: object) -> Plan:
    return make_plan(configure(**overrides), corpus)


def keys(plan: Plan, name: str) -> set[str]:
    return {stage.key for stage in plan.stages.values() if stage.name == name}


def test_a_plan_has_every_stage_of_every_run_after_those_it_depends_on() -> None:
    plan = plan_of(seeds="0-1")
    assert len(plan.runs) == 6
    assert len(plan.stages) == 18
    seen: set[str] = set()
    for stage in plan.stages.values():
        assert set(stage.upstream.values()) <= seen
        seen.add(stage.key)
    for run in plan.runs:
        assert list(run.stages) == ["pretrain", "train", "evaluate"]
        assert {plan.stages[key].fold for key in run.stages.values()} == {run.fold}


def test_the_same_question_has_the_same_keys() -> None:
    assert plan_of().stages == plan_of().stages


def test_pretraining_depends_on_the_moment_order_and_not_on_lambda2() -> None:
    plain, other_lambda, other_order = (
        plan_of(),
        plan_of(hyperparameters={"lambda2": 50}),
        plan_of(hyperparameters={"moment_order": 3}),
    )
    assert keys(plain, "pretrain") == keys(other_lambda, "pretrain")
    assert keys(plain, "train").isdisjoint(keys(other_lambda, "train"))
    assert keys(plain, "pretrain").isdisjoint(keys(other_order, "pretrain"))
    assert keys(plain, "train").isdisjoint(keys(other_order, "train"))


def test_systems_share_the_pretraining_that_is_the_same() -> None:
    with_cmd = ["if-mmin", "if-mmin-no-linv", "if-mmin-no-cascade"]
    without = ["fusion", "mmin", "mmin-no-cycle"]
    plan = plan_of(systems=[*with_cmd, *without], folds="1")
    assert len(keys(plan, "pretrain")) == 2
    assert {run.stages["pretrain"] for run in plan.runs if run.system in with_cmd}.isdisjoint(
        run.stages["pretrain"] for run in plan.runs if run.system in without
    )
    for run in plan.runs:
        assert run.stages == plan_of(systems=[run.system], folds="1").runs[0].stages


def test_mctn_has_a_stage_for_each_condition_and_evaluates_them_all() -> None:
    plan = plan_of(systems=["mctn"], folds="1")
    *trained, evaluation = plan.stages.values()
    assert [stage.name for stage in trained] == [f"train-{condition}" for condition in ALL_CONDITIONS]
    assert [stage.condition for stage in trained] == list(ALL_CONDITIONS)
    assert evaluation.upstream == {stage.name: stage.key for stage in trained}
    assert plan.hyperparameters["mctn"]["epochs"] == 20


@pytest.mark.parametrize("change", [{"seeds": "1"}, {"compute": {"precision": "bfloat16"}}])
def test_every_key_depends_on_seed_and_precision(change: dict[str, Any]) -> None:
    assert set(plan_of().stages).isdisjoint(plan_of(**change).stages)


def test_workers_names_and_storage_change_no_key() -> None:
    assert plan_of().stages == plan_of(compute={"workers": 7}, name="other", storage="elsewhere").stages


def test_another_corpus_changes_every_key_but_its_name_does_not() -> None:
    renamed = replace(CORPUS, name="other", classes=("x", "y", "z"))
    changed = replace(CORPUS, folds={1: Fold(np.arange(3), np.arange(3, 6), np.arange(6, 9))})
    assert compute_fingerprint(renamed) == compute_fingerprint(CORPUS) != compute_fingerprint(changed)
    assert plan_of(renamed).stages == plan_of().stages
    assert set(plan_of(replace(CORPUS, fingerprint="other")).stages).isdisjoint(plan_of().stages)


def test_the_most_specific_name_of_a_hyperparameter_wins() -> None:
    hyperparameters = {"epochs": 3, "train.epochs": 4, "if-mmin.pretrain.epochs": 5}
    resolved = plan_of(hyperparameters=hyperparameters).hyperparameters["if-mmin"]
    assert (resolved["pretrain.epochs"], resolved["train.epochs"]) == (5, 4)
    assert (resolved["lambda2"], resolved["moment_order"]) == (100, 5)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"systems": ["if-mmn"]}, "no system 'if-mmn'; did you mean 'if-mmin'"),
        ({"folds": "1-4"}, "no fold 4; its folds are 1 to 3"),
        ({"hyperparameters": {"lamda2": 5}}, "'lamda2'; did you mean 'lambda"),
        ({"hyperparameters": {"pretrain.lambda2": 5}}, "pretrain.lambda2"),
        ({"hyperparameters": {"epochs": 2.5}}, "epochs must be a whole number"),
        ({"hyperparameters": {"lambda2": -1}}, "lambda2 is -1.0; it must be at least 0"),
        ({"hyperparameters": {"moment_order": 0}}, "moment_order is 0"),
        ({"hyperparameters": {"lambda2": "many"}}, "lambda2 is many; it must be a finite number"),
        ({"hyperparameters": {"epochs": True}}, "epochs is True; it must be a finite number"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_sentence(overrides: dict[str, Any], expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of(**overrides)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 17)))
def test_what_is_to_run_is_exactly_what_missing_evaluations_need(done: set[int]) -> None:
    plan = plan_of(seeds="0-1")
    completed = {key for index, key in enumerate(plan.stages) if index in done}
    to_run = {stage.key for stage in stages_to_run(plan, completed)}
    for run in plan.runs:
        pretrain, train, evaluate = (run.stages[name] for name in ("pretrain", "train", "evaluate"))
        assert (evaluate in to_run) == (evaluate not in completed)
        assert (train in to_run) == (evaluate in to_run and train not in completed)
        assert (pretrain in to_run) == (train in to_run and pretrain not in completed)


def test_what_is_removed_in_training_is_part_of_the_keys_of_what_trains() -> None:
    plain, missing, by_letter = plan_of(), plan_of(train_missing=0.3), plan_of(train_missing="a=0.3,v=0.3,t=0.3")
    for name in ("pretrain", "train", "evaluate"):
        assert not keys(plain, name) & keys(missing, name)
        assert keys(missing, name) == keys(by_letter, name)
    for stage in missing.stages.values():
        expected = None if stage.action == "evaluate" else {"a": 0.3, "v": 0.3, "t": 0.3}
        assert stage.train_missing == expected
        assert Stage.recorded(json.loads(json.dumps(vars(stage)))) == stage
    assert len({stage.kind for stage in missing.stages.values()}) == 3


@pytest.mark.parametrize("rates", [0, "0", {"a": 0}, "all=0,t=0"])
def test_a_rate_of_zero_removes_nothing(rates: object) -> None:
    assert plan_of(train_missing=rates).stages == plan_of().stages


def test_the_rate_of_one_modality_overrides_that_of_all() -> None:
    assert resolve_train_missing({"all": 0.2, "t": 0.5}, CORPUS) == {"a": 0.2, "v": 0.2, "t": 0.5}
    assert resolve_train_missing({"all": 0.2, "t": 0}, CORPUS) == {"a": 0.2, "v": 0.2}


def test_modalities_that_cannot_be_removed_are_refused_in_a_sentence() -> None:
    with pytest.raises(PlanError, match=r"train_missing: corpus 'small' has no modality 'x'; its modalities are a, v"):
        plan_of(train_missing="x=0.3")
    with pytest.raises(PlanError, match=r"'small' has one modality, which cannot be removed; leave train_missing out"):
        make_plan(load_configuration({"systems": ["fusion"]}, {"train_missing": 0.3}), make_corpus(modalities=ONE))
