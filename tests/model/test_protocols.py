"""What is drawn under the protocols, and that they agree with the fixed conditions to the bit."""

import numpy as np
import pytest
import torch

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import Condition
from ifmmin.model.conformance.training import train_system
from ifmmin.model.evaluation import predict
from ifmmin.model.protocols import PROTOCOLS, draw_conditions, drop_block, drop_frames, run_protocol
from ifmmin.model.run import stage_generator
from ifmmin.model.systems import SYSTEMS
from tests.model.test_systems import CORPUS
from tests.small import ALL_CONDITIONS, LETTERS


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", ["if-mmin", "mctn"])
def test_the_fixed_conditions_within_the_protocols_are_the_same_to_the_bit(name: str) -> None:
    network, test = train_system(SYSTEMS[name], CORPUS, epochs=1).network, Examples(CORPUS, 1, "test")
    fixed = predict(network, test, ALL_CONDITIONS)
    results = {protocol: run_protocol(protocol, network, test, seed=3, fold=1) for protocol in PROTOCOLS}
    for probabilities in results.values():
        assert torch.equal(probabilities[0], fixed[ALL_CONDITIONS.index(Condition("avt"))])
    for index, rate in enumerate(PROTOCOLS["random-modality"].rates):
        drawn_by = stage_generator(3, 1, "protocol/random-modality", f"{rate:.1f}")
        masks = draw_conditions(len(test), rate, drawn_by, LETTERS)
        assert torch.equal(results["random-modality"][index], fixed[masks, torch.arange(len(test))])
    assert not torch.equal(results["random-frames"][5], results["random-frames"][0])


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.7])
def test_modalities_are_missing_as_often_as_the_rate_says_and_never_all(rate: float) -> None:
    count = 40_000
    drawn = np.bincount(draw_conditions(count, rate, generator(), LETTERS), minlength=len(ALL_CONDITIONS)) / count
    for share, condition in zip(drawn, ALL_CONDITIONS, strict=True):
        available = len(condition)
        expected = (1 - rate) ** available * rate ** (3 - available) + (rate**3 / 3 if available == 1 else 0)
        assert share == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("rate", PROTOCOLS["frame-block"].rates)
def test_a_block_lies_within_the_utterance_and_has_the_length_asked_for(rate: float) -> None:
    lengths = torch.randint(1, 40, (500,), generator=generator())
    lost = drop_block(lengths, 40, rate, generator())
    assert torch.equal(lost.sum(1), (lengths * rate).round().long())
    for row, length in zip(lost, lengths, strict=True):
        places = row.nonzero()[:, 0]
        assert not len(places) or (places[-1] < length and places[-1] - places[0] == len(places) - 1)


def test_blocks_lie_anywhere() -> None:
    lost = drop_block(torch.full((3000,), 10), 10, 0.3, generator())
    firsts = np.bincount(lost.int().argmax(1), minlength=10)
    assert (firsts[:8] > 250).all()
    assert not firsts[8:].any()


def test_each_time_step_is_lost_with_the_probability_of_the_rate() -> None:
    lost = drop_frames(torch.full((2000,), 30), 30, 0.4, generator())
    assert float(lost.float().mean()) == pytest.approx(0.4, abs=0.01)
