from pathlib import Path

import pytest

from data.catalogue import folder_for
from data.corpus import Corpus, write_corpus
from orchestrator.configuration import load_configuration
from orchestrator.experiment import Experiment
from orchestrator.plan import Plan
from orchestrator.stages import execute
from orchestrator.store import Store
from tests.small import make_corpus


def run_in_this_process(plan: Plan, corpus: Corpus, store: Store) -> None:
    """Run the stages of a plan one after the other, without Ray; those in the store are left out."""
    for stage in plan.stages.values():
        if stage.key not in store.completed([stage.key]):
            upstream = [store.read_weights(key) for key in stage.upstream]
            store.write_stage(stage, execute(stage, corpus, upstream))


@pytest.fixture(scope="session")
def finished_experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """`demo` with two epochs on the three folds of a small corpus, all of it in a store. Tests only read it."""
    location = str(tmp_path_factory.mktemp("finished") / "store")
    write_corpus(make_corpus(), folder_for("small", location))
    settings = {"corpus": "small", "parameters": {"epochs": 2}, "folds": "1-3", "storage": location}
    experiment = Experiment.of(load_configuration("demo", settings))
    experiment.record()
    run_in_this_process(experiment.plan, experiment.corpus, experiment.store)
    return experiment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder whose store has the corpus `small`."""
    write_corpus(make_corpus(), folder_for("small", tmp_path / "ifmmin-store"))
    return tmp_path
