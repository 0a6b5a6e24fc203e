"""MLflow here is a SQLite file; making its tables takes seconds, so that the tests of this module share one."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from ifmmin.orchestrator.execution.events import Finished, Started, Tick
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import Run, make_plan
from ifmmin.orchestrator.reporting.report import Report, make_report
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.tracking.client import PARENT, TrackingError
from ifmmin.orchestrator.tracking.experiments import Tracker, compared_runs
from tests.orchestrator.conftest import analysis_of, finish, run_in_this_process, tree, with_changes
from tests.small import ALL_CONDITIONS, MISSING_CONDITIONS


@pytest.fixture(scope="module")
def tracked(client: MlflowClient, finished_experiment: Experiment, report: Report) -> tuple[MlflowRun, list[MlflowRun]]:
    """Parent and children of the finished experiment, all written from its store."""
    finish(finished_experiment, report)
    return tree(client, "demo")


def finished(experiment: Experiment, key: str) -> Finished:
    return Finished(experiment.plan.stages[key], 1.0)


def scores_of(experiment: Experiment, run: Run) -> dict[str, float]:
    predictions = experiment.store.read_table(run.evaluation, "predictions").to_pandas()
    values = {}
    for condition in ALL_CONDITIONS:
        part = predictions[predictions["condition"] == condition]
        values[f"test/wa/{condition}"] = float(accuracy_score(part["label"], part["prediction"]))
        values[f"test/ua/{condition}"] = float(balanced_accuracy_score(part["label"], part["prediction"]))
    for metric in ("wa", "ua"):
        values[f"test/{metric}/average"] = sum(values[f"test/{metric}/{c}"] for c in MISSING_CONDITIONS) / 6
    return values


def test_a_child_has_the_scores_and_curves_of_its_run(
    client: MlflowClient, tracked: tuple[MlflowRun, list[MlflowRun]], finished_experiment: Experiment
) -> None:
    _, children = tracked
    for run, child in zip(finished_experiment.plan.runs, children, strict=True):
        assert child.info.run_name == f"fold {run.fold}, seed 0"
        assert child.info.status == "FINISHED"
        scores = {name: value for name, value in child.data.metrics.items() if name.startswith("test/")}
        assert scores == pytest.approx(scores_of(finished_experiment, run))
        history = finished_experiment.store.read_table(run.stages["pretrain"], "history").to_pylist()
        curve = client.get_metric_history(child.info.run_id, "pretrain/loss/cmd")
        assert [(point.step, point.value) for point in curve] == [(row["epoch"], row["loss/cmd"]) for row in history]
        assert {"train/loss/inv", "train/validation/ua", "train/learning_rate"} <= set(child.data.metrics)


def test_a_parent_has_means_and_deviations_over_its_runs(
    tracked: tuple[MlflowRun, list[MlflowRun]], finished_experiment: Experiment
) -> None:
    parent, _ = tracked
    runs = pd.DataFrame([scores_of(finished_experiment, run) for run in finished_experiment.plan.runs])
    deviations = runs.std().rename(lambda name: name.replace("wa/", "wa_std/").replace("ua/", "ua_std/"))
    scores = {name: value for name, value in parent.data.metrics.items() if name.startswith("test/")}
    assert scores == pytest.approx({**runs.mean(), **deviations})
    assert (parent.info.run_name, parent.info.status) == ("if-mmin epochs=2", "FINISHED")


def test_a_parents_curve_is_the_mean_of_its_childrens(
    client: MlflowClient, tracked: tuple[MlflowRun, list[MlflowRun]]
) -> None:
    parent, children = tracked
    curves = [client.get_metric_history(run.info.run_id, "train/loss/inv") for run in (parent, *children)]
    mean, *of_runs = ([point.value for point in sorted(curve, key=lambda point: point.step)] for curve in curves)
    assert mean == pytest.approx([sum(values) / 3 for values in zip(*of_runs, strict=True)])


def test_children_repeat_their_parents_parameters(tracked: tuple[MlflowRun, list[MlflowRun]]) -> None:
    parent, children = tracked
    for fold, child in zip("123", children, strict=True):
        assert child.data.params == {**parent.data.params, "fold": fold, "seed": "0"}
    expected = {"system": "if-mmin", "lambda2": "100", "train.epochs": "2", "corpus": "small"}
    assert expected.items() <= parent.data.params.items()
    assert {"folds": "1-3", "seeds": "0"}.items() <= parent.data.tags.items()


def test_artifacts_have_tables_predictions_figures_and_the_configuration(
    client: MlflowClient, tracked: tuple[MlflowRun, list[MlflowRun]], finished_experiment: Experiment
) -> None:
    parent, _ = tracked
    folder = Path(client.download_artifacts(parent.info.run_id, ""))
    names = {str(file.relative_to(folder)) for file in folder.rglob("*.*")}
    drawn = {"scores_by_condition", "cost_of_missing_modalities", "confusion_matrices", "loss_curves"}
    drawn |= {"invariance_curve", "invariant_features", "reliability_diagrams"}
    drawn |= {f"corpus/{name}" for name in ("lengths", "classes_by_set", "components_by_class")}
    figures = {f"figures/{name}.{kind}" for name in drawn for kind in ("png", "pdf")}
    tables = {"table.md", "table.tex", "table.csv", "times.csv", "scores.csv", "predictions.parquet", "calibration.csv"}
    assert names == figures | tables | {"configuration.yaml", "report.html"}
    assert len(pd.read_parquet(folder / "predictions.parquet")) == len(finished_experiment.corpus) * 7
    assert yaml.safe_load((folder / "configuration.yaml").read_text())["hyperparameters"] == {"epochs": 2}


def test_finishing_again_writes_nothing(
    client: MlflowClient, tracked: tuple[MlflowRun, list[MlflowRun]], finished_experiment: Experiment, report: Report
) -> None:
    finish(finished_experiment, report)
    parent, children = tree(client, "demo")
    assert (parent.info, [child.info for child in children]) == (tracked[0].info, [child.info for child in tracked[1]])
    assert len(client.get_metric_history(parent.info.run_id, "test/wa/a")) == 1


@pytest.mark.slow  # for its figures, twice
def test_what_a_crash_left_half_written_is_written_anew(
    client: MlflowClient, finished_experiment: Experiment, report: Report
) -> None:
    tracker = Tracker(with_changes(finished_experiment, name="crashed"))
    first, second, _ = finished_experiment.plan.runs
    tracker.record_run(first)
    parent, (whole,) = tree(client, "crashed")
    assert parent.info.status == "RUNNING"
    half = client.create_run(
        parent.info.experiment_id,
        tags={**whole.data.tags, PARENT: parent.info.run_id, "ifmmin.evaluation": second.evaluation},
    )

    finish(with_changes(finished_experiment, name="crashed"), report)

    parent, children = tree(client, "crashed")
    assert [child.info.status for child in (parent, *children)] == 4 * ["FINISHED"]
    assert whole.info.run_id in {child.info.run_id for child in children}
    assert half.info.run_id not in {child.info.run_id for child in children}


@pytest.mark.slow  # for its figures, twice
def test_an_interrupted_experiment_is_killed_and_an_incomplete_one_failed_until_it_is_complete(
    client: MlflowClient, finished_experiment: Experiment, tmp_path: Path, report: Report
) -> None:
    store = Store(shutil.copytree(finished_experiment.store.location, tmp_path / "store"))
    configuration = load_configuration(
        "demo", {"name": "late", "systems": ["if-mmin"], "hyperparameters": {"epochs": 2}, "folds": 1, "seeds": "0-1"}
    )
    plan = make_plan(configuration, finished_experiment.corpus)
    experiment = Experiment(configuration, finished_experiment.corpus, plan, store)

    def state() -> tuple[str, int, bool]:
        parent, children = tree(client, "late")
        return parent.info.status, len(children), "train/loss/inv" in parent.data.metrics

    interrupted = Tracker(experiment)
    interrupted.record_run(plan.runs[0])
    interrupted.interrupt()
    assert state() == ("KILLED", 1, False)
    finish(experiment, report)
    assert state() == ("FAILED", 1, False)
    run_in_this_process(plan, finished_experiment.corpus, store)
    finish(experiment, report)
    assert state() == ("FINISHED", 2, True)


def test_other_hyperparameters_make_another_parent_whose_name_says_so_and_other_folds_or_seeds_do_not(
    client: MlflowClient, finished_experiment: Experiment
) -> None:
    first = finished_experiment.plan.runs[0]
    for changes in ({}, {"folds": "1-2"}, {"seeds": "0,1"}, {"hyperparameters": {"epochs": 2, "constant_epochs": 1}}):
        Tracker(with_changes(finished_experiment, name="variants", **changes)).record_run(first)
    _, parents = compared_runs("variants")
    assert [client.get_run(parent).info.run_name for parent in parents] == [
        "if-mmin epochs=2",
        "if-mmin epochs=2 constant_epochs=1",
    ]


def test_an_experiment_deleted_in_mlflow_comes_back(client: MlflowClient, finished_experiment: Experiment) -> None:
    def record() -> None:
        Tracker(with_changes(finished_experiment, name="deleted")).record_run(finished_experiment.plan.runs[0])

    record()
    client.delete_experiment(compared_runs("deleted")[0])
    with pytest.raises(TrackingError, match="no experiment 'deleted'"):
        compared_runs("deleted")
    record()
    assert len(tree(client, "deleted")[1]) == 1


@pytest.mark.usefixtures("tracked")
def test_an_unknown_experiment_is_refused_with_the_nearest_known_name() -> None:
    with pytest.raises(TrackingError, match="no experiment 'dmo'; did you mean 'demo'"):
        compared_runs("dmo")


@pytest.mark.slow  # MLflow tries more than once
def test_a_server_that_does_not_answer_is_reported_in_one_sentence_within_seconds(
    finished_experiment: Experiment, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(TrackingError) as raised:
        finish(finished_experiment, report)
    assert time.monotonic() - started < 60  # MLflow's patience is minutes by default
    message = str(raised.value)
    assert message.startswith("MLflow at http://127.0.0.1:9 cannot be reached or written (connection refused); ")
    assert f"the results are safe in {finished_experiment.store.location}, and the same command" in message
    assert "secret" not in message


def test_a_database_that_cannot_be_written_is_reported_in_one_sentence(
    finished_experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: Report
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/missing/mlflow.db")
    (tmp_path / "missing").write_text("a file where a folder should be")
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be reached or written .* the same command"):
        finish(finished_experiment, report)


def test_a_tracker_records_a_run_when_its_evaluation_has_finished(
    client: MlflowClient, finished_experiment: Experiment
) -> None:
    experiment = with_changes(finished_experiment, name="events")
    tracker, (run, *_) = Tracker(experiment), experiment.plan.runs
    for event in (Tick(), Started(experiment.plan.stages[run.evaluation]), finished(experiment, run.stages["train"])):
        tracker.take(event)
    with pytest.raises(TrackingError, match="no experiment 'events'"):
        compared_runs("events")
    tracker.take(finished(experiment, run.evaluation))
    _, children = tree(client, "events")
    assert [child.data.tags["ifmmin.evaluation"] for child in children] == [run.evaluation]


@pytest.mark.slow  # MLflow tries more than once
def test_a_tracker_lets_computing_go_on_when_mlflow_does_not_answer(
    finished_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tracker = Tracker(finished_experiment)
    for run in finished_experiment.plan.runs:
        tracker.take(finished(finished_experiment, run.evaluation))


@pytest.mark.slow  # for its figures
def test_mlflow_is_current_once_all_is_written_and_no_longer_when_a_run_was_added(
    client: MlflowClient, finished_experiment: Experiment, report: Report
) -> None:
    experiment = with_changes(finished_experiment, name="current")
    analysis, tracker = analysis_of(experiment), Tracker(experiment)
    assert not tracker.is_current(analysis)
    tracker.record_run(experiment.plan.runs[0])
    assert not tracker.is_current(analysis)
    finish(experiment, report)
    assert Tracker(experiment).is_current(analysis)
    _, children = tree(client, "current")
    client.delete_run(children[0].info.run_id)
    assert not Tracker(experiment).is_current(analysis)


@pytest.mark.slow  # for its figures
@pytest.mark.usefixtures("newcomers")
def test_words_booleans_and_pretrainings_of_any_name_are_tracked_and_reported(
    client: MlflowClient, finished_experiment: Experiment, tmp_path: Path
) -> None:
    hyperparameters = {"epochs": 1, "batch_size": 8, "words.activation": "tanh", "wide": True}
    changes = {"name": "newcomers", "systems": ["experts", "words"], "hyperparameters": hyperparameters, "folds": "1"}
    experiment = replace(with_changes(finished_experiment, **changes), store=Store(tmp_path / "store"))
    run_in_this_process(experiment.plan, experiment.corpus, experiment.store)
    Tracker(experiment).finish(make_report(analysis_of(experiment)))
    _, parents = compared_runs("newcomers")
    experts, words = (client.get_run(parent) for parent in parents)
    assert (words.data.params["activation"], words.data.params["wide"]) == ("tanh", "true")
    assert words.info.run_name == "words epochs=1 batch_size=8 activation=tanh wide=true"
    stages = {name.split("/")[0] for name in experts.data.metrics if not name.startswith("test/")}
    assert stages == {"train"}
    (child,) = client.search_runs([experts.info.experiment_id], f"tags.`{PARENT}` = '{experts.info.run_id}'")
    assert {"expert-a/loss/error", "expert-t/loss/error", "train/loss/error"} <= set(child.data.metrics)
