"""Modalities removed from training data: how many, which, and that nothing else changes."""

from itertools import pairwise

import pytest
import torch

from ifmmin.data.removal import draw_removed


def removed(rates: dict[str, float], letters: str = "avt", count: int = 60_000, seed: int = 0) -> torch.Tensor:
    present = torch.ones(count, len(letters), dtype=torch.bool)
    return draw_removed(present, letters, rates, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("letters", ["at", "avt", "abcdef"])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6, 1.0])
def test_the_share_of_removed_entries_is_the_rate_less_what_utterances_keep(letters: str, rate: float) -> None:
    count = len(letters)
    mask = removed(dict.fromkeys(letters, rate), letters)
    assert not mask.all(1).any()
    for share in mask.float().mean(0).tolist():
        assert share == pytest.approx(rate - rate**count / count, abs=0.01)


def test_each_modality_has_its_rate() -> None:
    mask = removed({"a": 0.1, "t": 0.4})
    assert mask.float().mean(0).tolist() == pytest.approx([0.1, 0, 0.4], abs=0.01)


def test_of_an_utterance_that_would_lose_everything_one_modality_drawn_uniformly_is_kept() -> None:
    mask = removed({"a": 0.9, "v": 0.5, "t": 0.8})
    two = mask[mask.sum(1) == 2]
    alone = {letter: float((~two[:, index]).float().mean()) for index, letter in enumerate("avt")}
    lost = 0.9 * 0.5 * 0.8
    one_survives = {"a": 0.1 * 0.5 * 0.8, "v": 0.9 * 0.5 * 0.8, "t": 0.9 * 0.5 * 0.2}
    total = lost + sum(one_survives.values())
    for letter, share in alone.items():
        assert share == pytest.approx((one_survives[letter] + lost / 3) / total, abs=0.01)


def test_a_higher_rate_removes_what_a_lower_one_removes_and_more() -> None:
    masks = [removed(dict.fromkeys("avt", rate), count=500) for rate in (0.0, 0.2, 0.4, 0.6, 1.0)]
    assert not masks[0].any()
    for lower, higher in pairwise(masks):
        assert not (lower & ~higher).any()
        assert (higher & ~lower).any()


def test_what_an_utterance_lacks_anyway_is_not_removed_and_something_stays() -> None:
    present = torch.tensor([[True, False, True], [False, True, False], [False, False, False]]).repeat(500, 1)
    mask = draw_removed(present, "avt", dict.fromkeys("avt", 0.8), torch.Generator().manual_seed(0))
    assert not (mask & ~present).any()
    assert (present & ~mask).any(1)[present.any(1)].all()
