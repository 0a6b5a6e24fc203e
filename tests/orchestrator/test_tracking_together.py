"""Drivers that write to one MLflow: what belongs together is decided by identities, not by names."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import DatasetInput
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import write_corpus
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.reporting.report import Report
from ifmmin.orchestrator.search.trials import SearchRecord, Trial
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.tracking.client import LEVEL, PARENT
from ifmmin.orchestrator.tracking.experiments import Tracker, compared_runs
from ifmmin.orchestrator.tracking.searches import SearchTracker
from ifmmin.orchestrator.workflows import begin_search, write_report, write_search_report
from tests.commandline import start
from tests.gate import PATIENCE_S, Gate, wait_until
from tests.orchestrator.conftest import analysis_of, run_in_this_process, tree, with_changes
from tests.small import IF_MMIN, make_corpus


def runs_of(client: MlflowClient, experiment: str, level: str) -> list[MlflowRun]:
    known = client.get_experiment_by_name(experiment)
    assert known is not None
    return list(client.search_runs([known.experiment_id], f"tags.`{LEVEL}` = '{level}'"))


def datasets_of(run: MlflowRun) -> list[DatasetInput]:
    assert run.inputs is not None
    return list(run.inputs.dataset_inputs)


def test_folds_of_several_drivers_come_under_one_parent(client: MlflowClient, finished_experiment: Experiment) -> None:
    for fold in "123":
        experiment = with_changes(finished_experiment, name="array", folds=fold)
        Tracker(experiment).record_run(experiment.plan.runs[0])
    _, children = tree(client, "array")
    assert [child.data.params["fold"] for child in children] == ["1", "2", "3"]


@pytest.mark.slow  # for its figures
def test_what_drivers_without_a_common_lock_wrote_twice_is_joined(
    client: MlflowClient, finished_experiment: Experiment, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = with_changes(finished_experiment, name="joined")
    first, second, third = experiment.plan.runs
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "_find_parents", lambda *_: [])  # each looks before the others have written
        for runs in ((first, second), (first, third), (second,)):
            tracker = Tracker(experiment)
            for run in runs:
                tracker.record_run(run)
    assert len(compared_runs("joined")[1]) == 3

    Tracker(experiment).finish(replace(report, analysis=analysis_of(experiment)))

    parent, children = tree(client, "joined")
    assert [child.data.params["fold"] for child in children] == ["1", "2", "3"]
    assert len(runs_of(client, "joined", "run")) == 3
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}


def test_an_interrupted_driver_leaves_what_another_has_finished(
    client: MlflowClient, finished_experiment: Experiment
) -> None:
    experiment = with_changes(finished_experiment, name="left")
    interrupted = Tracker(experiment)
    interrupted.record_run(experiment.plan.runs[0])
    client.set_terminated(tree(client, "left")[0].info.run_id, "FINISHED")  # as another driver does in the end
    interrupted.interrupt()
    assert tree(client, "left")[0].info.status == "FINISHED"


def test_a_corpus_is_a_dataset_of_parents_and_children(client: MlflowClient, finished_experiment: Experiment) -> None:
    experiment = with_changes(finished_experiment, name="dataset")
    Tracker(experiment).record_run(experiment.plan.runs[0])
    parent, (child,) = tree(client, "dataset")
    for run in (parent, child):
        (entry,) = datasets_of(run)
        assert (entry.dataset.name, entry.dataset.digest) == ("small", experiment.corpus.fingerprint)
        assert f"{experiment.store.location}/corpora/small" in entry.dataset.source
        assert '"utterance"' in str(entry.dataset.schema)


def search_of(store: str, name: str, **changes: object) -> tuple[Experiment, SearchRecord]:
    configuration = load_configuration(
        IF_MMIN, {"corpus": "small", "folds": "1-3", "name": name, "storage": store, **changes}
    )
    experiment, record = begin_search(configuration, resume=False)
    return experiment, record


def test_searches_of_one_name_from_two_stores_have_parents_of_their_own(client: MlflowClient, tmp_path: Path) -> None:
    values = {"one": 1.0, "other": 2.0}
    for number, (store, value) in enumerate(values.items()):
        write_corpus(make_corpus(seed=number), folder_for("small", tmp_path / store))
        experiment, record = search_of(str(tmp_path / store), "searched")
        for _ in range(2):  # the second time it is there
            SearchTracker(experiment, record).record_trial(0, Trial({"lambda2": value}, (0.5,), "completed"))
    parents = runs_of(client, "searched", "search")
    trials = runs_of(client, "searched", "trial")
    assert {trial.data.params["lambda2"] for trial in trials} == {"1", "2"}
    assert {trial.data.tags[PARENT] for trial in trials} == {parent.info.run_id for parent in parents}
    assert (len(parents), len(trials)) == (2, 2)
    assert all(datasets_of(run) for run in (*parents, *trials))


def test_a_search_is_recognised_when_it_is_resumed_and_one_of_an_earlier_version_is_read(
    tmp_path: Path, finished_experiment: Experiment
) -> None:
    record = SearchRecord(finished_experiment.configuration, finished_experiment.corpus.fingerprint)
    content = record.to_json()
    assert SearchRecord.from_json(content, str(tmp_path)).identity == record.identity
    del content["identity"]
    first, again = (SearchRecord.from_json(content, str(tmp_path)).identity for _ in range(2))
    assert first == again != ""


@pytest.mark.slow  # for its figures
def test_a_search_and_an_experiment_of_one_name_keep_their_reports(
    client: MlflowClient, finished_experiment: Experiment, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    write_corpus(make_corpus(), folder_for("small", store.location))
    experiment = replace(with_changes(finished_experiment, name="both", folds="1"), store=store)
    run_in_this_process(experiment.plan, experiment.corpus, store)
    searched, record = search_of(store.location, "both", hyperparameters={"epochs": 2}, folds="1")
    record = record.with_trial(0, Trial({"lambda2": 1.0, "moment_order": 5}, (0.5,), "completed"))

    write_report(analysis_of(experiment))
    page = (tmp_path / "store/reports/both/report.html").read_bytes()
    write_search_report(searched, record)
    write_report(analysis_of(experiment))

    assert (tmp_path / "store/reports/both/report.html").read_bytes() == page
    assert (tmp_path / "store/searches/both/trials.parquet").exists()
    assert store.searches() == ["both"]
    assert len(runs_of(client, "both", "search")) == len(runs_of(client, "both", "system")) == 1


def test_an_experiment_holds_the_complete_runs_of_all_its_parts(
    finished_experiment: Experiment, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    write_corpus(make_corpus(), folder_for("small", store.location))

    def part(**changes: object) -> Experiment:
        experiment = replace(with_changes(finished_experiment, name="parts", **changes), store=store)
        experiment.record()
        return experiment

    part(folds="2", systems=["fusion", "if-mmin"])  # of which nothing is complete
    part(folds="3", hyperparameters={"epochs": 1})  # another experiment, later overwritten
    for fold in "31":
        experiment = part(folds=fold)
        run_in_this_process(experiment.plan, experiment.corpus, store)
    whole = Experiment.recorded("parts", store.location)
    assert [(run.system, run.fold) for run in whole.plan.runs] == [("if-mmin", 1), ("if-mmin", 3)]
    assert whole.configuration.folds == (1, 3)
    assert whole.plan.hyperparameters["if-mmin"]["train.epochs"] == 2


@pytest.mark.slow  # three drivers, each with Ray
def test_drivers_at_once_write_one_parent_and_each_child_once(folder: Path, tmp_path: Path) -> None:
    """Two start the same folds, a third another one; all stages wait at a gate until all three have begun."""
    gate = Gate(tmp_path / "gate")
    arguments = ("run", "demo", "--corpus", "small", "--systems", "if-mmin", "--set", "epochs=2", "--workers", "1")
    drivers = [start(folder, *arguments, "--folds", folds, gate=gate) for folds in ("1-2", "1-2", "3")]
    try:
        wait_until(lambda: gate.waiting() >= 3 or any(driver.poll() is not None for driver in drivers))
        gate.open()
        outputs = [driver.communicate(timeout=PATIENCE_S) for driver in drivers]
    finally:
        for driver in drivers:
            driver.kill()
    assert [driver.returncode for driver in drivers] == [0, 0, 0], outputs

    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        live = database.execute("select run_uuid, status from runs where lifecycle_stage = 'active'").fetchall()
        tags = database.execute("select run_uuid, key, value from tags").fetchall()
    levels = Counter(value for run, key, value in tags if key == LEVEL and run in dict(live))
    assert levels == {"system": 1, "run": 3}
    assert {status for _, status in live} == {"FINISHED"}
    assert [run.fold for run in Experiment.recorded("demo", str(folder / "ifmmin-store")).plan.runs] == [1, 2, 3]
