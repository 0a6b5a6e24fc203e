"""The schedule, without Ray: random graphs of stages, random failures."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmmin.orchestrator.execution.events import FailureKind, StageFailure
from ifmmin.orchestrator.execution.schedule import Fail, Retry, Schedule, Stop, decide


@dataclass(frozen=True)
class FakeStage:
    """A stage as far as the schedule looks at it."""

    key: str
    upstream: dict[str, str]
    action: str = "train"
    group: int = 0

    @property
    def kind(self) -> tuple[str, int]:
        return self.action, self.group


@st.composite
def graphs(draw: st.DrawFn) -> list[FakeStage]:
    """Stages in an order in which each stands after those it depends on."""
    count = draw(st.integers(1, 25))
    stages = []
    for index in range(count):
        needed = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        action = "train" if draw(st.booleans()) else "evaluate"
        upstream = {f"upstream {other}": str(other) for other in needed}
        stages.append(FakeStage(str(index), upstream, action, draw(st.integers(0, 2))))
    return stages


def closure(stages: list[FakeStage], keys: set[str]) -> set[str]:
    """What depends on these, directly or not."""
    reached: set[str] = set()
    for stage in stages:
        if set(stage.upstream.values()) & (keys | reached):
            reached.add(stage.key)
    return reached - keys


def failure(kind: FailureKind = "error") -> StageFailure:
    return StageFailure("ValueError: no", "", kind)


def carry_out(
    stages: list[FakeStage], broken: set[str], together: int, places: int, order: random.Random
) -> tuple[list[str], Schedule]:
    """Run a schedule to its end with stages that end in a random order; the keys in the order of their starts."""
    schedule: Any = Schedule()
    assert schedule.add(stages) == []
    started: list[str] = []
    while not schedule.finished:
        while len(schedule.running) < places and (taken := schedule.take(lambda _stage, alike: min(alike, together))):
            assert all(stage.kind == taken[0].kind for stage in taken)
            for stage in taken:
                assert set(stage.upstream.values()) <= schedule.done, "it began before what it needs was done"
                started.append(stage.key)
        ended = order.choice(sorted(schedule.running))
        if ended in broken:
            decision, skipped = schedule.fail(ended, failure())
            assert decision == Fail()
            assert {stage.key for stage in skipped} <= closure(stages, {ended})
        else:
            schedule.finish(ended)
    return started, schedule


@given(graphs(), st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_every_stage_runs_once_and_none_before_what_it_needs(
    stages: list[FakeStage], together: int, places: int, order: random.Random
) -> None:
    started, schedule = carry_out(stages, set(), together, places, order)
    assert sorted(started) == sorted(stage.key for stage in stages)
    assert schedule.done == {stage.key for stage in stages}


@given(graphs(), st.data(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_failures_skip_exactly_what_depends_on_them(
    stages: list[FakeStage], data: st.DataObject, together: int, order: random.Random
) -> None:
    broken = data.draw(st.sets(st.sampled_from([stage.key for stage in stages])))
    started, schedule = carry_out(stages, broken, together, 3, order)
    assert len(started) == len(set(started))
    skipped = closure(stages, set(schedule.failed))
    assert schedule.skipped == skipped
    assert schedule.failed.keys() == broken - skipped
    assert schedule.done == {stage.key for stage in stages} - broken - skipped


@given(graphs(), st.data())
def test_stages_added_while_others_run_are_treated_as_if_they_had_been_there(
    stages: list[FakeStage], data: st.DataObject
) -> None:
    broken = data.draw(st.sets(st.sampled_from([stage.key for stage in stages])))
    cut = data.draw(st.integers(0, len(stages)))
    schedule: Any = Schedule()
    skipped = {stage.key for stage in schedule.add(stages[:cut])}
    while taken := schedule.take():
        for stage in taken:
            if stage.key in broken:
                skipped |= {other.key for other in schedule.fail(stage.key, failure())[1]}
            else:
                schedule.finish(stage.key)
        skipped |= {stage.key for stage in schedule.add(stages)}
    skipped |= {stage.key for stage in schedule.add(stages)}
    while taken := schedule.take():
        for stage in taken:
            if stage.key in broken:
                skipped |= {other.key for other in schedule.fail(stage.key, failure())[1]}
            else:
                schedule.finish(stage.key)
    assert schedule.finished
    assert schedule.skipped == skipped == closure(stages, set(schedule.failed))
    assert schedule.done | schedule.failed.keys() | skipped == {stage.key for stage in stages}


def test_the_first_ready_stage_in_the_order_of_the_plan_comes_first() -> None:
    stages = [FakeStage("a", {}), FakeStage("b", {}), FakeStage("a2", {"a": "a"}), FakeStage("c", {})]
    schedule: Any = Schedule()
    schedule.add([stages[0], stages[2], stages[1], stages[3]])
    assert [stage.key for stage in schedule.take()] == ["a"]
    schedule.finish("a")
    assert [stage.key for stage in schedule.take()] == ["a2"]


def test_what_needs_a_stage_that_nobody_added_is_ready_because_that_is_in_the_store() -> None:
    schedule: Any = Schedule()
    schedule.add([FakeStage("train", {"pretrain": "stored"})])
    assert [stage.key for stage in schedule.take()] == ["train"]


@pytest.mark.parametrize(
    ("kind", "share", "losses", "expected"),
    [
        ("error", 0.25, 0, Fail()),
        ("gpu-memory", 0.25, 0, Retry(0.5, "out of GPU memory, now with 0.5 of a GPU")),
        ("gpu-memory", 0.6, 0, Retry(1.0, "out of GPU memory, now with 1 of a GPU")),
        ("gpu-memory", 1.0, 0, Fail()),
        ("lost", 0.25, 2, Retry(0.25, "its worker or node was lost")),
        ("lost", 0.25, 3, Fail()),
        ("storage", 0.25, 0, Stop()),
    ],
)
def test_a_failure_means(kind: FailureKind, share: float, losses: int, expected: object) -> None:
    assert decide(failure(kind), share=share, losses=losses, retries=2) == expected


def test_a_stage_that_lacks_gpu_memory_gets_more_until_it_has_a_whole_gpu() -> None:
    schedule: Any = Schedule(share=lambda _: 0.25)
    schedule.add([FakeStage("a", {}), FakeStage("b", {"a": "a"})])
    shares = []
    while taken := schedule.take():
        shares.append(schedule.share(taken[0]))
        _, skipped = schedule.fail("a", failure("gpu-memory"))
    assert shares == [0.25, 0.5, 1.0]
    assert [stage.key for stage in skipped] == ["b"]


def test_a_stage_whose_worker_is_lost_is_computed_again_as_often_as_allowed() -> None:
    schedule: Any = Schedule(retries=2)
    schedule.add([FakeStage("a", {})])
    count = 0
    while schedule.take():
        count += 1
        schedule.fail("a", failure("lost"))
    assert count == 3
    assert "a" in schedule.failed
