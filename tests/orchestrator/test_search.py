"""Searches: their record, their costs, and whole ones on a small corpus; slow where Ray and Tune are started."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient

from ifmmin.data.corpus import Fold
from ifmmin.orchestrator.execution.events import Outcome
from ifmmin.orchestrator.execution.stages import execute
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import Configuration, load_configuration
from ifmmin.orchestrator.planning.plan import make_plan
from ifmmin.orchestrator.search.driver import TrialChanged, run_search
from ifmmin.orchestrator.search.figures import search_files, trials_table
from ifmmin.orchestrator.search.space import check_space, first_hyperparameters, limit_of, search_of
from ifmmin.orchestrator.search.trials import (
    CostCounter,
    SearchError,
    SearchRecord,
    Trial,
    TrialPlans,
    count_costs,
    take_best,
)
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.tracking.client import PARENT
from ifmmin.orchestrator.tracking.experiments import compared_runs
from ifmmin.orchestrator.tracking.searches import NUMBER, SearchTracker
from tests.commandline import call, completed, start, wait_at
from tests.gate import Gate
from tests.small import make_corpus

CORPUS = make_corpus()


def configure(**changes: object) -> Configuration:
    return load_configuration("search", {"corpus": "small", "hyperparameters": {"epochs": 2}, **changes})


def trial(lambda2: float, moment_order: int, *means: float, state: str = "completed") -> Trial:
    return Trial({"lambda2": lambda2, "moment_order": moment_order}, means, state)  # type: ignore[arg-type]


RECORD = SearchRecord(
    configure(),
    CORPUS.fingerprint,
    (
        trial(100, 5, 0.5, 0.6, 0.55),
        trial(10, 5, 0.5, 0.7, 0.65),
        trial(1, 5, 0.3, 0.3, state="stopped"),
        trial(3, 2, 0.9, state="running"),
    ),
)


def test_a_record_is_the_same_after_it_was_kept(tmp_path: Path) -> None:
    Store(tmp_path).write_search("search", RECORD.to_json())
    content = Store(tmp_path).read_search("search")
    assert content is not None
    read = SearchRecord.from_json(content, RECORD.configuration.storage)
    assert read == RECORD
    assert (read.best, Store(tmp_path).searches()) == (RECORD.trials[1], ["search"])


def test_costs_count_each_stage_once_and_what_was_saved() -> None:
    # K = 5 on three folds for all, K = 2 on one; a training for each trial and fold.
    costs = count_costs(RECORD, TrialPlans(RECORD.configuration, CORPUS))
    assert costs.run == {"pretrain": 3 + 1, "train": 3 + 3 + 2 + 1}
    assert costs.shared == 3 + 2
    assert costs.stopped == 2
    assert costs.alone == 4 + 9 + 5 + 2


def test_the_first_trial_has_the_hyperparameters_of_the_paper_where_they_lie_in_the_space() -> None:
    assert first_hyperparameters(configure(), CORPUS) == {"lambda2": 100, "moment_order": 5}
    chosen = configure(hyperparameters={"lambda2": 50})
    assert first_hyperparameters(chosen, CORPUS) == {"lambda2": 50, "moment_order": 5}
    assert first_hyperparameters(configure(search={"space": {"lambda2": {"low": 1, "high": 2}}}), CORPUS) is None
    assert first_hyperparameters(configure(search={"space": {"train.epochs": {"low": 1, "high": 50}}}), CORPUS) == {
        "train.epochs": 2
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"systems": ["if-mmin", "mmin"]}, "is for one system; name one of if-mmin, mmin"),
        ({"search": {"space": {"lamda2": {"low": 1, "high": 2}}}}, "no hyperparameter 'lamda2'; did you mean"),
        ({"search": {"space": {"moment_order": {"low": 0, "high": 3}}}}, "moment_order is 0; it must be at least 1"),
        ({"search": {"space": {"moment_order": {"low": 1.5, "high": 3}}}}, "must be whole numbers"),
        ({"search": {"space": {"moment_order": [2, 3, 2.0]}}}, "moment_order: 2 is listed twice"),
        ({"search": {"space": {"beta1": {"low": 0.5, "high": 1}}}}, "beta1 is 1.0; it must be below 1"),
    ],
)
def test_an_impossible_search_is_refused_in_one_sentence(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(SearchError) as raised:
        check_space(configure(**changes), CORPUS)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("space", "trials", "possible"),
    [
        ({"moment_order": {"low": 1, "high": 7}}, 20, 7),
        ({"moment_order": {"low": 1, "high": 7, "log": True}}, 20, 7),
        ({"moment_order": {"low": 1, "high": 7}}, 5, 5),
        ({"moment_order": {"low": 1, "high": 2}, "train.epochs": [1, 2, 3]}, 20, 6),
        ({"lambda2": [0.5, 1.5], "train.epochs": [1, 2, 3]}, 20, 6),
        ({"moment_order": {"low": 1, "high": 2}, "lambda2": {"low": 1, "high": 2}}, 20, 20),
    ],
)
def test_a_search_has_no_more_trials_than_its_space_allows(
    space: dict[str, object], trials: int, possible: int
) -> None:
    configuration = configure(search={"space": space, "trials": trials})
    assert search_of(configuration).trials == possible
    said = limit_of(configuration)
    if trials == possible:
        assert said is None
    else:
        assert (
            said == f"The search space has only {possible} different trials, so {possible} are run instead of {trials}."
        )


def test_the_best_hyperparameters_are_run_under_a_name_that_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_search("search", RECORD.to_json())
    paper = load_configuration("paper", {"storage": str(tmp_path)})
    taken = take_best(paper, "search")
    assert (taken.name, taken.systems, taken.best_of) == ("paper-best-of-search", ("if-mmin",), "search")
    assert taken.hyperparameters == {"epochs": 2, "lambda2": 10, "moment_order": 5}
    assert taken.seeds == paper.seeds
    with pytest.raises(SearchError, match="no search 'serch'; did you mean 'search'"):
        take_best(paper, "serch")
    store.write_search("young", replace(RECORD, trials=RECORD.trials[2:]).to_json())
    with pytest.raises(SearchError, match="No trial of search 'young' has visited all folds"):
        take_best(paper, "young")


def test_files_hold_the_trials_their_figures_and_a_configuration_that_runs(tmp_path: Path) -> None:
    files = search_files(RECORD)
    figures = {f"{name}.{kind}" for name in ("response", "parallel_coordinates") for kind in ("png", "pdf")}
    assert set(files) == figures | {"trials.parquet", "best.yaml"}
    (tmp_path / "trials.parquet").write_bytes(files["trials.parquet"])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "trials.parquet"), trials_table(RECORD))
    assert trials_table(RECORD)["folds"].tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 1]
    (tmp_path / "best.yaml").write_bytes(files["best.yaml"])
    best = load_configuration(str(tmp_path / "best.yaml"), {})
    assert make_plan(best, CORPUS).hyperparameters["if-mmin"]["lambda2"] == 10
    assert yaml.safe_load(files["best.yaml"])["name"] == "search-best"


def test_one_searched_hyperparameter_has_figures_too() -> None:
    space = {"lambda2": {"low": 0.1, "high": 1000, "log": True}}
    trials = (Trial({"lambda2": 3.0}, (0.5,), "completed"), Trial({"lambda2": 30.0}, (0.5,), "completed"))
    assert "response.png" in search_files(SearchRecord(configure(search={"space": space}), "", trials))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    return MlflowClient()


@pytest.mark.slow
def test_mlflow_has_a_child_for_each_trial_and_nothing_twice(client: MlflowClient, tmp_path: Path) -> None:
    experiment = Experiment(RECORD.configuration, CORPUS, make_plan(RECORD.configuration, CORPUS), Store(tmp_path))
    early = RECORD.with_trial(1, replace(RECORD.trials[1], means=(0.5,), state="running"))
    tracker = SearchTracker(experiment, early)
    for number, item in enumerate(early.trials):
        tracker.record_trial(number, item)
    tracker.interrupt()
    SearchTracker(experiment, early).finish(RECORD, {"best.yaml": b"name: search-best"})

    experiment_id, trials = compared_runs("search")
    runs = sorted((client.get_run(run) for run in trials), key=lambda run: run.data.tags[NUMBER])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED", "KILLED", "KILLED"]
    assert runs[1].data.params == {"lambda2": "10", "moment_order": "5", "system": "if-mmin", "corpus": "small"}
    curve = client.get_metric_history(runs[1].info.run_id, "validation/ua")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.7), (3, 0.65)]
    matching = client.search_runs([experiment_id], "params.moment_order = '5' AND params.lambda2 = '1'")
    assert [run.info.run_id for run in matching] == [runs[2].info.run_id]
    parent = client.get_run(runs[0].data.tags[PARENT])
    assert (parent.data.metrics["best/validation/ua"], parent.data.tags["best.lambda2"]) == (0.65, "10")
    assert [item.path for item in client.list_artifacts(parent.info.run_id)] == ["best.yaml"]


def test_costs_are_the_same_whether_counted_at_the_end_or_on_the_way() -> None:
    plans = TrialPlans(RECORD.configuration, CORPUS)
    counter = CostCounter(plans)
    for number, item in enumerate(RECORD.trials):
        for visited in range(len(item.means)):
            counter.add(number, replace(item, means=item.means[: visited + 1], state="running"))
        counter.add(number, item)
    assert counter.costs == count_costs(RECORD, plans)


def test_a_record_of_the_first_stores_can_be_read() -> None:
    content = RECORD.to_json()
    content["trials"] = [{**item, "settings": item["hyperparameters"]} for item in content["trials"]]
    for item in content["trials"]:
        del item["hyperparameters"]
    assert SearchRecord.from_json(content, RECORD.configuration.storage) == RECORD


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_stage_of_a_search_is_run_once_and_no_test_set_is_read(tmp_path: Path) -> None:
    nowhere = np.array([10**9])
    folds = {number: Fold(fold.train, fold.validation, nowhere) for number, fold in CORPUS.folds.items()}
    corpus = replace(CORPUS, folds=folds)
    space = {"lambda2": [1.0, 10.0], "moment_order": [4, 5]}
    search = {"trials": 3, "space": space, "scheduler": "none"}
    configuration = configure(seeds="0-1", folds="1-2", search=search, compute={"workers": 2})
    experiment = Experiment(configuration, corpus, make_plan(configuration, corpus), Store(tmp_path))
    record, outcome = SearchRecord(configuration, corpus.fingerprint), Outcome()
    plans = TrialPlans(configuration, corpus)
    for event in run_search(experiment, record, plans):
        if isinstance(event, TrialChanged):
            record = record.with_trial(event.number, event.trial)
        else:
            outcome.take(event)

    assert [item.state for item in record.trials] == ["completed"] * 3
    requested = {stage.key for item in record.trials for stage in plans.visited(item)}
    assert sorted(outcome.done) == sorted(requested)
    for item in record.trials:
        keys = [stage.key for stage in plans.visited(item) if stage.name == "train"]
        histories = [experiment.store.read_table(key, "history")["validation/ua"].to_pylist() for key in keys]
        assert item.means[-1] == pytest.approx(np.mean([max(history) for history in histories]))
    plan = plans.of(record.trials[0].hyperparameters)
    evaluation = plan.stages[plan.runs[0].evaluation]
    with pytest.raises(IndexError):  # so a read of a test set would have failed
        execute(evaluation, corpus, experiment.store.read_upstream(evaluation))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_trial_whose_stage_fails_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    search = {"trials": 2, "space": {"train.learning_rate": [1e-3, 1e30]}, "scheduler": "none"}
    configuration = configure(folds="1", search=search, compute={"workers": 1})
    experiment = Experiment(configuration, CORPUS, make_plan(configuration, CORPUS), Store(tmp_path))
    record = SearchRecord(configuration, CORPUS.fingerprint)
    known = [Trial({"train.learning_rate": rate}) for rate in (1e-3, 1e30)]
    for event in run_search(experiment, replace(record, trials=tuple(known)), TrialPlans(configuration, CORPUS)):
        if isinstance(event, TrialChanged):
            record = record.with_trial(event.number, event.trial)
    assert [item.state for item in record.trials] == ["completed", "failed"]
    assert "DivergedError" in record.trials[1].reason


@pytest.mark.slow
def test_a_search_killed_twice_keeps_its_trials_and_repeats_nothing(folder: Path) -> None:
    search = ("search", "search", "--corpus", "small", "--set", "epochs=2", "--trials", "4", "--workers", "2")

    def trials() -> list[dict[str, object]]:
        file = folder / "ifmmin-store" / "searches" / "search.json"
        return json.loads(file.read_text())["trials"] if file.exists() else []

    before: dict[Path, int] = {}
    known: list[object] = []
    for stages in (2, 5):
        gate = Gate(folder / f"until-{stages}")
        process = start(folder, *search, *(["--resume"] if stages > 2 else []), gate=gate)
        wait_at(gate, folder, process, stages)
        process.kill()
        process.communicate()
        assert before.items() <= completed(folder).items()
        before = completed(folder)
        assert len(before) == stages
        assert [item["hyperparameters"] for item in trials()][: len(known)] == known
        known = [item["hyperparameters"] for item in trials()]
        assert known

    status, _, errors = call(folder, *search)
    assert (status, "continue it with --resume" in errors) == (2, True)
    status, output, errors = call(folder, *search, "--resume")
    assert status == 0, errors
    assert before.items() <= completed(folder).items()
    assert [item["hyperparameters"] for item in trials()][: len(known)] == known
    assert len(trials()) == 4
    assert {item["state"] for item in trials()} <= {"completed", "stopped"}
    assert f"{len(completed(folder)) - len(before)} of them now" in output

    status, output, errors = call(
        folder, "run", "demo", "--corpus", "small", "--systems", "if-mmin", "--best-of", "search"
    )
    assert status == 0, errors
    assert "demo-best-of-search on small" in output
    assert "3 stages run, 6 from the store" in output  # only the evaluations were missing
