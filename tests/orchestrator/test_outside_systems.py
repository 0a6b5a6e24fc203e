"""Systems from outside the package join experiments as any other, wherever their files are by then."""

from pathlib import Path

import pytest

from ifmmin.data.errors import UserError
from ifmmin.orchestrator import workflows
from ifmmin.orchestrator.analysis.experiment import analyse
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning import catalogue
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.search.trials import SearchError
from ifmmin.orchestrator.store import Store
from tests.model.test_program import SYSTEM, written
from tests.orchestrator.conftest import inputs_of, run_in_this_process


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to the systems is gone after it."""
    monkeypatch.setattr(catalogue, "_OUTSIDE", {})


def experiment_in(folder: Path, *systems: object, **changes: object) -> Experiment:
    names = [str(system) for system in systems]
    changes = {"corpus": "small", "hyperparameters": {"epochs": 1}, "folds": "1", "seeds": "0", **changes}
    storage = str(folder / "ifmmin-store")
    return Experiment.of(load_configuration("paper", {**changes, "systems": names, "storage": storage}))


def keys(experiment: Experiment) -> set[str]:
    return set(experiment.plan.stages)


def test_a_file_is_a_system_beside_others(folder: Path) -> None:
    experiment = experiment_in(folder, "augmented", written(folder, mine=SYSTEM))
    assert experiment.plan.systems == ("augmented", "means")
    assert experiment.plan.hyperparameters["means"]["width"] == 4
    assert experiment.configuration.systems == ("augmented", "means")


def test_a_changed_file_has_other_keys_and_a_changed_comment_the_same(folder: Path) -> None:
    file = written(folder, mine=SYSTEM)
    first = keys(experiment_in(folder, file))
    file.write_text(SYSTEM.replace('"""A system."""', "# A system"))
    assert keys(experiment_in(folder, file)) == first
    file.write_text(SYSTEM.replace("nn.ReLU()", "nn.Tanh()"))
    assert not keys(experiment_in(folder, file)) & first


def test_the_store_keeps_the_program_so_that_the_file_may_change_or_go(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(folder, mine=f"from parts import X\n{SYSTEM}", parts="X = 1")
    experiment = experiment_in(folder, file, name="mine")
    experiment.record()
    run_in_this_process(experiment.plan, experiment.corpus, experiment.store)
    file.unlink()
    (folder / "parts.py").write_text("1 / 0")
    monkeypatch.setattr(catalogue, "_OUTSIDE", {})

    recorded = Experiment.recorded("mine", experiment.store.location)
    assert recorded.plan == experiment.plan
    assert not analyse(recorded, workflows.load_complete(recorded)).summary.empty
    inputs = inputs_of(experiment.corpus, 1, folder / "inputs")
    predictions = workflows.predict(recorded, recorded.plan.runs, inputs)
    assert len(predictions) == len(experiment.corpus.folds[1].test)


def test_parts_of_an_experiment_that_other_files_ran_are_joined(folder: Path) -> None:
    one = experiment_in(folder, written(folder / "one", mine=SYSTEM), name="whole")
    text = SYSTEM.replace("class Means", "class Others")
    two = experiment_in(folder, written(folder / "two", mine=text), name="whole")
    for part in (one, two):
        part.record()
        run_in_this_process(part.plan, part.corpus, part.store)
    assert Experiment.recorded("whole", one.store.location).plan.systems == ("means", "others")


def test_results_of_an_earlier_text_of_a_file_do_not_join(folder: Path) -> None:
    file = written(folder, mine=SYSTEM)
    earlier = experiment_in(folder, file, seeds="1", name="whole")
    earlier.record()
    run_in_this_process(earlier.plan, earlier.corpus, earlier.store)
    file.write_text(SYSTEM.replace("nn.ReLU()", "nn.Tanh()"))
    later = experiment_in(folder, file, name="whole")
    later.record()
    assert later.whole().plan == later.plan


def test_two_systems_of_one_name_are_refused(folder: Path) -> None:
    files = [written(folder / name, mine=SYSTEM) for name in ("one", "two")]
    with pytest.raises(UserError, match=r"one/mine.py and .*two/mine.py are both called 'means'"):
        experiment_in(folder, *files)


def test_a_name_of_the_package_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="A system 'mmin' already exists"):
        experiment_in(folder, written(folder, mine=SYSTEM.replace("class Means", "class Mmin")))


def test_an_installed_distribution_adds_a_system_by_an_entry_point(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(folder, lab__mine=SYSTEM)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(catalogue, "entry_points", lambda: {"theirs": "lab.mine:Means"})
    assert experiment_in(folder, "theirs").plan.systems == ("means",)


def test_a_search_is_not_resumed_with_another_text(folder: Path) -> None:
    file = written(folder, mine=SYSTEM)
    changes = {"search": {"trials": 2, "space": {"width": {"low": 2, "high": 8}}}, "folds": "1-3"}
    experiment, record = workflows.begin_search(experiment_in(folder, file, **changes).configuration, resume=False)
    assert record.configuration.programs
    again = experiment_in(folder, file, **changes).configuration
    workflows.begin_search(again, resume=True)
    file.write_text(SYSTEM.replace("nn.ReLU()", "nn.Tanh()"))
    with pytest.raises(SearchError, match="data or code"):
        workflows.begin_search(experiment_in(folder, file, **changes).configuration, resume=True)
    assert experiment.store.read_search(experiment.configuration.name)


@pytest.mark.slow  # Ray starts
def test_workers_get_the_program_as_text(folder: Path, two_workers: None) -> None:  # noqa: ARG001
    file = written(folder, mine=f"from parts import X\n{SYSTEM}", parts="X = 1")
    experiment = experiment_in(folder, file, name="mine")
    file.unlink()
    (folder / "parts.py").unlink()
    assert not workflows.run_stages(experiment, track=False).failed
    alone = Store(folder / "alone")
    run_in_this_process(experiment.plan, experiment.corpus, alone)
    evaluation = experiment.plan.runs[0].evaluation
    assert experiment.store.read_table(evaluation, "predictions") == alone.read_table(evaluation, "predictions")
