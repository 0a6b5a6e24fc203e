import io

import pytest
from IPython.display import HTML
from rich.console import Console

from ifmmin.model.history import Epoch
from ifmmin.orchestrator.commands.display import Display
from ifmmin.orchestrator.execution.events import EpochEnded, Failed, Finished, Skipped, StageFailure, Started, Tick
from ifmmin.orchestrator.execution.pace import Pace
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import Plan, make_plan
from tests.small import IF_MMIN, make_corpus


@pytest.fixture
def plan() -> Plan:
    return make_plan(load_configuration(IF_MMIN, {"folds": "1-2", "hyperparameters": {"epochs": 10}}), make_corpus())


def display_of(plan: Plan, *, terminal: bool) -> tuple[Display, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100, color_system=None)
    return Display(console, "demo", plan, list(plan.stages.values()), Pace()), output


def test_the_terminal_shows_running_stages_a_line_each_and_what_is_left(plan: Plan) -> None:
    display, output = display_of(plan, terminal=True)
    pretrain, train, evaluate, *_ = plan.stages.values()
    with display:
        display.take(Started(pretrain))
        display.take(EpochEnded(pretrain, Epoch(10, 1e-4, {}, 0.5, 0.512, seconds=2.0)))
        display.take(Finished(pretrain, 20.0))
        display.take(Started(train))
        display.take(EpochEnded(train, Epoch(4, 1e-4, {}, 0.5, 0.6543, seconds=3.0)))
        display.take(Tick())
    lines = [line.strip() for line in output.getvalue().splitlines()]
    # left: 6 of 10 epochs of 3 s here, 10 of 2 s and 10 of 3 s on the other fold, one stage at a time
    assert "demo: 1 of 6 stages done, 1 running, 0 s so far, about 1 min 8 s left" in output.getvalue()
    assert "if-mmin  fold 1  seed 0  train  epoch 4/10  validation UA 65.4%" in lines
    assert plan.describe(evaluate.key) == "if-mmin, fold 1, seed 0, evaluate"


def test_a_failure_is_printed_at_once_also_without_a_terminal(plan: Plan) -> None:
    display, output = display_of(plan, terminal=False)
    pretrain, train, *_ = plan.stages.values()
    with display:
        display.take(Failed(pretrain, StageFailure("DivergedError: the loss is nan", "file")))
        display.take(Skipped(train))
        display.take(Tick())
    assert output.getvalue() == "failed if-mmin, fold 1, seed 0, pretrain: DivergedError: the loss is nan\n"


class Cell:
    """The output of a notebook's cell."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, html: HTML, *, display_id: bool) -> "Cell":
        assert display_id
        self.update(html)
        return self

    def update(self, html: HTML) -> None:
        self.shown.append(str(html.data))


def test_a_notebook_shows_a_bar_that_is_redrawn_and_cleared_at_the_end(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell()
    monkeypatch.setattr("IPython.display.display", cell.display)
    console = Console(file=io.StringIO(), force_jupyter=True)
    pretrain, *_ = plan.stages.values()
    with Display(console, "demo", plan, list(plan.stages.values()), Pace()) as display:
        display.take(Started(pretrain))
        display.take(Tick())
        display.take(Finished(pretrain, 20.0))
        display.take(Tick())
    empty, running, finished, cleared = cell.shown
    assert (empty, cleared) == ("", "")
    assert "0 of 6 stages done, 1 running" in running
    assert "━" in running
    assert "1 of 6 stages done, 0 running" in finished


def test_the_pace_of_today_counts_more_than_an_earlier_one(plan: Plan) -> None:
    pretrain, train, *_ = plan.stages.values()
    earlier = Pace()
    earlier.add(pretrain, 100.0)
    pace = Pace(earlier)
    assert (pace.expected(pretrain), pace.expected(train)) == (100.0, None)
    assert pace.total(plan.stages.values()) is None
    pace.add(pretrain, 2.0, epochs=1)
    assert pace.expected(pretrain) == 20.0
