import pytest
import torch
from torch import Tensor

from ifmmin.data.batches import Batch
from ifmmin.data.modalities import AVT
from ifmmin.model.encoders import SpecificityEncoders
from ifmmin.model.initialisation import initialise
from tests.small import DIMENSIONS, LETTERS, random_batch


@pytest.fixture
def encoders() -> SpecificityEncoders:
    network = SpecificityEncoders(AVT, DIMENSIONS, hidden=6).double()
    initialise(network, torch.Generator().manual_seed(1))
    with torch.no_grad():  # biases that are not zero, so that zero inputs are not trivial
        for index, parameter in enumerate(network.parameters()):
            parameter.add_(0.01 * (index + 1))
    return network


def alone(batch: Batch, row: int) -> Batch:
    """One utterance of a batch by itself, without the padding that its batch mates require."""
    lengths = {m: batch.lengths[m][row : row + 1] for m in batch.lengths}
    features = {m: batch.features[m][row : row + 1, : int(lengths[m])] for m in batch.features}
    return Batch(features, lengths, batch.labels[row : row + 1], torch.tensor([row]))


def plain(encoders: SpecificityEncoders, batch: Batch, available: Tensor) -> Tensor:
    """Every utterance by itself, its missing inputs multiplied by zero: the reference for the optimised encoders."""
    rows = []
    for row in range(len(batch)):
        single = alone(batch, row)
        parts = []
        for index, modality in enumerate(LETTERS):
            encoder, lengths = encoders.of(modality), single.lengths[modality]
            x = single.features[modality] * available[row, index]
            parts.append(encoder.project(encoder.pool(x, lengths), None))
        rows.append(torch.stack(parts, 1))
    return torch.cat(rows)


COUNT = 7 * 6
"""More utterances than an LSTM takes at once."""
MASKS = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]]).bool().repeat(6, 1)


@pytest.fixture(params=[True, False], ids=["as on a CPU", "as on a GPU"])
def may_look(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to the same encodings: with shapes that depend on what is in a batch, and without."""
    monkeypatch.setattr("ifmmin.model.encoders._may_look", lambda _: request.param)


@pytest.mark.usefixtures("may_look")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_savings_change_neither_encodings_nor_gradients(
    encoders: SpecificityEncoders, dtype: torch.dtype, tolerance: float
) -> None:
    encoders, batch = encoders.to(dtype), random_batch(COUNT, dtype)
    weights = torch.randn(COUNT, 3, 6, generator=torch.Generator().manual_seed(3), dtype=dtype)
    actual, expected = encoders(batch, MASKS), plain(encoders, batch, MASKS)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    gradients = (torch.autograd.grad((h * weights).sum(), list(encoders.parameters())) for h in (actual, expected))
    torch.testing.assert_close(next(gradients), next(gradients), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mask", MASKS[:7].tolist())
def test_both_encodings_combine_to_every_condition(encoders: SpecificityEncoders, mask: list[bool]) -> None:
    batch, available = random_batch(COUNT, torch.float64), torch.tensor(mask).expand(COUNT, 3)
    expected = plain(encoders, batch, available)
    torch.testing.assert_close(encoders.both(batch).under(torch.tensor(mask)), expected, rtol=1e-12, atol=1e-12)


def test_an_encoding_does_not_depend_on_batch_mates(encoders: SpecificityEncoders) -> None:
    batch = random_batch(COUNT, torch.float64)
    together = encoders(batch, MASKS)
    for row in range(COUNT):
        by_itself = encoders(alone(batch, row), MASKS[row : row + 1])
        torch.testing.assert_close(by_itself[0], together[row], rtol=1e-12, atol=1e-12)


def test_the_values_of_a_missing_modality_have_no_influence(encoders: SpecificityEncoders) -> None:
    batch, other = random_batch(COUNT, torch.float64, seed=0), random_batch(COUNT, torch.float64, seed=0)
    for index, modality in enumerate(LETTERS):
        other.features[modality][~MASKS[:, index]] = 1e3
    assert torch.equal(encoders(batch, MASKS), encoders(other, MASKS))


def test_dropout_is_drawn_for_each_utterance_also_where_text_is_missing(encoders: SpecificityEncoders) -> None:
    batch = random_batch(7, torch.float64)
    nothing = torch.zeros(7, 3, dtype=torch.bool)
    text = encoders(batch, nothing, torch.Generator().manual_seed(0))[:, 2]
    assert len(torch.unique(text, dim=0)) > 1
    assert len(torch.unique(encoders(batch, nothing)[:, 2], dim=0)) == 1
