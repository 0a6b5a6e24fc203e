import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import Corpus, Fold, Sequences, write_corpus
from ifmmin.model.systems import register
from ifmmin.orchestrator.analysis.experiment import Analysis, analyse
from ifmmin.orchestrator.analysis.results import load_results
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.execution.stages import execute
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import Compute, load_configuration
from ifmmin.orchestrator.planning.plan import Plan, make_plan
from ifmmin.orchestrator.reporting.report import Report, make_report
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.tracking.client import PARENT
from ifmmin.orchestrator.tracking.experiments import Tracker, compared_runs
from tests.data.test_table import write_tables
from tests.model.newcomers import NEWCOMERS
from tests.small import IF_MMIN, make_corpus

CLASSES = ["class 0", "class 1", "class 2"]
PROBABILITIES = [f"p_{name}" for name in CLASSES]


def run_in_this_process(plan: Plan, corpus: Corpus, store: Store) -> None:
    """Run the stages of a plan one after the other, without Ray; those in the store are left out."""
    for stage in plan.stages.values():
        if stage.key not in store.completed([stage.key]):
            upstream = {name: store.read_weights(key) for name, key in stage.upstream.items()}
            store.write_stage(stage, execute(stage, corpus, upstream))


@pytest.fixture(scope="session")
def finished_experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """`demo` with two epochs on the three folds of a small corpus, all of it in a store. Tests only read it."""
    location = str(tmp_path_factory.mktemp("finished") / "store")
    write_corpus(make_corpus(), folder_for("small", location))
    changes = {"corpus": "small", "hyperparameters": {"epochs": 2}, "folds": "1-3", "storage": location}
    experiment = Experiment.of(load_configuration(IF_MMIN, changes))
    experiment.record()
    run_in_this_process(experiment.plan, experiment.corpus, experiment.store)
    return experiment


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """MLflow in a SQLite file of the module's own."""
    folder = tmp_path_factory.mktemp("tracking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)  # where MLflow puts artifacts
        yield MlflowClient()


@pytest.fixture(scope="module")
def trained(finished_experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """IF-MMIN on three folds, and MCTN, which has a network for each condition, on one."""
    location = tmp_path_factory.mktemp("trained") / "store"
    store = Store(shutil.copytree(finished_experiment.store.location, location))
    changes = {"systems": ["mctn"], "hyperparameters": {"epochs": 1, "steps": 4}, "folds": "1", "name": "translated"}
    configuration = load_configuration("demo", {**changes, "corpus": "small", "storage": store.location})
    plan = make_plan(configuration, finished_experiment.corpus)
    run_in_this_process(plan, finished_experiment.corpus, store)
    translated = replace(finished_experiment, configuration=configuration, plan=plan, store=store)
    translated.record()
    return replace(finished_experiment, store=store)


@pytest.fixture
def newcomers() -> None:
    """The systems of `tests.model.newcomers` are registered."""
    for system in NEWCOMERS.values():
        register(system)


def inputs_of(corpus: Corpus, fold: int, root: Path) -> Path:
    """The test rows of a fold in the table layout, in their order."""
    rows = corpus.folds[fold].test
    sequences = {m: Sequences.of([features[row] for row in rows]) for m, features in corpus.sequences.items()}
    all_rows = np.arange(len(rows))
    alone = replace(
        corpus,
        utterances=corpus.utterances.take(rows),
        sequences=sequences,
        folds={1: Fold(all_rows, all_rows, all_rows)},
    )
    return write_tables(root, alone)


def assert_stored(predictions: pd.DataFrame, experiment: Experiment, fold: int) -> None:
    """What was predicted in every condition is what the evaluation of the fold's run stored, to the bit."""
    run = next(run for run in experiment.plan.runs if run.fold == fold)
    stored = experiment.store.read_table(run.evaluation, "predictions").to_pandas()
    assert len(predictions) == len(stored) == 7 * len(experiment.corpus.folds[fold].test)
    keys = list(zip(stored["condition"], stored["utterance"], strict=True))
    actual = predictions.set_index(["condition", "utterance"]).loc[keys]
    assert np.array_equal(actual[PROBABILITIES].to_numpy(np.float32), np.stack(stored["probabilities"].to_list()))
    assert actual["prediction"].tolist() == [CLASSES[index] for index in stored["prediction"]]


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    """A Ray session for all tests of a module that ask for it: starting one takes seconds."""
    with ray_session(Compute(workers=2)):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder whose store has the corpus `small`."""
    write_corpus(make_corpus(), folder_for("small", tmp_path / "ifmmin-store"))
    return tmp_path


def with_changes(experiment: Experiment, **changes: object) -> Experiment:
    """The same experiment with other keys in its configuration, and the plan that follows."""
    changes = {"corpus": "small", "hyperparameters": {"epochs": 2}, "folds": "1-3", **changes}
    configuration = load_configuration(IF_MMIN, changes)
    plan = make_plan(configuration, experiment.corpus)
    return replace(experiment, configuration=configuration, plan=plan)


def analysis_of(experiment: Experiment) -> Analysis:
    results = load_results(experiment.plan, experiment.store, experiment.corpus.letters)
    assert results is not None
    return analyse(experiment, results)


@pytest.fixture(scope="module")
def report(finished_experiment: Experiment) -> Report:
    return make_report(analysis_of(finished_experiment))


def finish(experiment: Experiment, report: Report) -> None:
    """What a run does in the end, on a fresh tracker; with the figures of another report, for they take seconds."""
    Tracker(experiment).finish(replace(report, analysis=analysis_of(experiment)))


def tree(client: MlflowClient, experiment: str) -> tuple[MlflowRun, list[MlflowRun]]:
    """The one parent of an experiment and its children by fold."""
    experiment_id, (parent,) = compared_runs(experiment)
    children = client.search_runs([experiment_id], f"tags.`{PARENT}` = '{parent}'")
    return client.get_run(parent), sorted(children, key=lambda child: child.data.params["fold"])
