from dataclasses import replace
from pathlib import Path

import pytest

from data.catalogue import folder_for
from data.corpus import Corpus, compute_fingerprint, write_corpus
from orchestrator.configuration import load_configuration
from orchestrator.experiment import Experiment
from orchestrator.plan import Plan, make_plan
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
    small = make_corpus()
    corpus = replace(small, fingerprint=compute_fingerprint(small))
    folder: Path = tmp_path_factory.mktemp("finished") / "store"
    configuration = load_configuration("demo", {"parameters": {"epochs": 2}, "folds": "1-3", "storage": str(folder)})
    plan = make_plan(configuration, corpus)
    store = Store(folder)
    run_in_this_process(plan, corpus, store)
    return Experiment(configuration, corpus, plan, store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder whose store has the corpus `small`."""
    write_corpus(make_corpus(), folder_for("small", tmp_path / "ifmmin-store"))
    return tmp_path
