"""Random draws: what they depend on, and what not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ifmmin.data.conditions import Condition, mask_of
from ifmmin.model.draws import draw_availability, dropout, dropout_over_time, uniform_over_time
from ifmmin.model.stacking.generators import GeneratorStack
from tests.small import ALL_CONDITIONS, LETTERS, random_batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("drop", [dropout, dropout_over_time])
def test_dropout_keeps_the_mean_and_draws_from_its_generator_only(
    drop: Callable[[Tensor, float, torch.Generator | None], Tensor],
) -> None:
    x = torch.ones(20, 100, 10)
    dropped = drop(x, 0.3, seeded())
    torch.manual_seed(99)
    assert torch.equal(dropped, drop(x, 0.3, seeded()))
    assert not torch.equal(dropped, drop(x, 0.3, seeded(1)))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.03)
    assert drop(x, 0.3, None) is x


@pytest.mark.parametrize("padding", [0, 1, 13])
def test_draws_over_time_do_not_depend_on_padding(padding: int) -> None:
    short, long = torch.ones(6, 9, 4), torch.ones(6, 9 + padding, 4)
    assert torch.equal(uniform_over_time(short, seeded()), uniform_over_time(long, seeded())[:, :9])
    assert torch.equal(dropout_over_time(short, 0.5, seeded()), dropout_over_time(long, 0.5, seeded())[:, :9])


def test_draws_over_time_leave_the_generator_in_the_same_state_whatever_the_padding() -> None:
    generators = seeded(), seeded()
    for generator, steps in zip(generators, (5, 50), strict=True):
        uniform_over_time(torch.ones(6, steps, 4), generator)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_draws_over_time_are_uniform_and_independent() -> None:
    draws = uniform_over_time(torch.ones(40, 50, 30), seeded())
    assert 0 <= float(draws.min()) < 1e-3
    assert 1 - 1e-3 < float(draws.max()) < 1
    counts = torch.histc(draws, bins=20, min=0, max=1)
    expected = draws.numel() / 20
    assert float(((counts - expected) ** 2 / expected).sum()) < 45.3  # chi-squared, 19 degrees of freedom, p = 0.0006
    centred = draws - 0.5
    for first, second in [
        (centred[1:], centred[:-1]),
        (centred[:, 1:], centred[:, :-1]),
        (centred[:, :, 1:], centred[:, :, :-1]),
        (centred[:, 1:, :-1], centred[:, :-1, 1:]),
    ]:
        assert abs(float((first * second).mean()) * 12) < 0.02


def test_in_a_stack_each_run_draws_over_time_as_it_does_alone() -> None:
    stack = GeneratorStack((seeded(1), seeded(2)))
    together = torch.vmap(lambda x: uniform_over_time(x, stack))(torch.ones(2, 6, 9, 4))
    alone = [uniform_over_time(torch.ones(6, 9, 4), seeded(seed)) for seed in (1, 2)]
    assert torch.equal(together, torch.stack(alone))


@pytest.mark.parametrize("conditions", [ALL_CONDITIONS, (Condition("at"),), (Condition("a"), Condition("avt"))])
def test_any_conditions_can_be_drawn(conditions: tuple[Condition, ...]) -> None:
    masks: Tensor = draw_availability(random_batch(500), seeded(), conditions)
    assert {tuple(mask) for mask in masks.tolist()} == {mask_of(condition, LETTERS) for condition in conditions}
