"""How far an experiment is, read from its store alone."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import write_corpus
from ifmmin.data.errors import UserError
from ifmmin.model.history import Epoch
from ifmmin.orchestrator.commands.status import command as show_status
from ifmmin.orchestrator.execution.events import EpochEnded, Event, Failed, Finished, StageFailure, Started, Tick
from ifmmin.orchestrator.execution.status import Status, StatusKeeper
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import Plan, Run
from ifmmin.orchestrator.planning.stage import Stage
from ifmmin.orchestrator.tracking.experiments import Tracker
from tests.orchestrator.conftest import run_in_this_process
from tests.small import IF_MMIN, make_corpus


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """Three folds with one epoch, of which the first is complete."""
    storage = str(tmp_path / "store")
    write_corpus(make_corpus(), folder_for("small", storage))
    changes = {"corpus": "small", "hyperparameters": {"epochs": 1}, "storage": storage}
    experiment = Experiment.of(load_configuration(IF_MMIN, changes))
    experiment.record()
    run_in_this_process(part_of(experiment.plan, experiment.plan.runs[0]), experiment.corpus, experiment.store)
    return experiment


def part_of(plan: Plan, run: Run) -> Plan:
    return replace(plan, runs=(run,), stages={key: plan.stages[key] for key in run.stages.values()})


def stages_of(experiment: Experiment, fold: int) -> list[Stage]:
    return [stage for stage in experiment.plan.stages.values() if stage.fold == fold]


def keeper_at_work(experiment: Experiment) -> StatusKeeper:
    """It has seen fold 1 end, fold 2 fail and fold 3 begin."""
    keeper = StatusKeeper(experiment.store, "demo")
    failing, running = stages_of(experiment, 2)[0], stages_of(experiment, 3)[0]
    events: list[Event] = []
    for stage in stages_of(experiment, 1):
        events += [Started(stage), Finished(stage, 1.0)]
    events += [Started(failing), Failed(failing, StageFailure("DivergedError: the loss is nan", "failures/it.txt"))]
    events += [Started(running), EpochEnded(running, Epoch(1, 1e-3, {"total": 1.0}, 0.5, 0.5, 1.0))]
    for event in events:
        keeper.take(event)
    return keeper


def status_of(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    show_status("demo", experiment.store.location, as_json=True)
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_status_shows_what_is_done_runs_and_failed(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    keeper_at_work(experiment).take(Tick())
    status = status_of(experiment, capsys)
    assert status["systems"] == [{"system": "if-mmin", "stages": 9, "done": 3, "running": 1, "failed": 1, "left": 4}]
    assert status["running"] == {stages_of(experiment, 3)[0].key: 1}
    assert status["alive"]
    show_status("demo", experiment.store.location, as_json=False)
    shown = capsys.readouterr().out
    assert "running: if-mmin, fold 3, seed 0, pretrain, epoch 1 of 1" in shown
    assert "failed: if-mmin, fold 2, seed 0, pretrain: DivergedError: the loss is nan" in shown.replace("\n", " ")
    assert "failures/it.txt" in shown
    assert "3 of 9 stages are done. The driver last wrote its status" in shown


def test_a_driver_that_ended_runs_nothing(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    keeper_at_work(experiment).end()
    status = status_of(experiment, capsys)
    assert (status["running"], status["alive"], len(status["failed"])) == ({}, False, 1)
    show_status("demo", experiment.store.location, as_json=False)
    assert "nothing is running. Run the experiment again to resume." in capsys.readouterr().out.replace("\n", " ")


def test_a_driver_that_was_killed_is_presumed_dead(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    heard = (datetime.now(UTC) - timedelta(minutes=5)).isoformat(timespec="seconds")
    running = {stages_of(experiment, 3)[0].key: 1}
    experiment.store.write_status("demo", asdict(Status(heard, ended=False, running=running, failed={})))
    show_status("demo", experiment.store.location, as_json=False)
    shown = capsys.readouterr().out
    assert "running:" not in shown
    assert "has not written its status for 5 min" in shown


def test_an_experiment_that_is_complete_points_to_its_report(
    finished_experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    show_status("demo", finished_experiment.store.location, as_json=False)
    assert "9 of 9 stages are done. ifmmin report demo --storage " in capsys.readouterr().out


class Unreachable(Tracker):
    """A tracker whose server does not answer."""

    attempts = 0

    def record_run(self, run: Run) -> None:  # noqa: ARG002
        self.attempts += 1
        raise UserError("no answer")


def test_a_tracking_server_that_goes_away_does_not_stop_the_computing(experiment: Experiment) -> None:
    tracker = Unreachable(experiment)
    for stage in experiment.plan.stages.values():
        tracker.take(Started(stage))
        tracker.take(Finished(stage, 1.0))
    assert tracker.attempts == 1
