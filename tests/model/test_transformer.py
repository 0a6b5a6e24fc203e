import torch

from ifmmin.data.modalities import AVT
from ifmmin.model.definition import Shape
from ifmmin.model.systems.transformer import (
    MOST_STEPS,
    Transformer,
    TransformerHyperparameters,
    positions,
    shorten,
    warmup_then_cosine,
)
from tests.small import DIMENSIONS, random_batch


def small_network() -> Transformer:
    torch.manual_seed(0)
    network = Transformer(Shape(AVT, DIMENSIONS, 3), TransformerHyperparameters(heads=2, head_width=3))
    network.initialise(torch.Generator().manual_seed(0))
    return network.double().eval()


def test_shortened_steps_are_means_of_consecutive_frames() -> None:
    x = torch.arange(80.0).view(1, 80, 1).double()
    shortened, lengths = shorten(x, torch.tensor([80]))
    assert shortened.shape == (1, MOST_STEPS, 1)
    assert lengths.tolist() == [MOST_STEPS]
    of_step = [[frame for frame in range(80) if frame * MOST_STEPS // 80 == step] for step in range(MOST_STEPS)]
    torch.testing.assert_close(shortened[0, :, 0], torch.tensor([sum(f) / len(f) for f in of_step]).double())


def test_short_sequences_in_a_long_batch_are_kept_as_they_are() -> None:
    x = torch.randn(2, 70, 3, dtype=torch.float64)
    shortened, lengths = shorten(x, torch.tensor([5, 70]))
    assert lengths.tolist() == [5, MOST_STEPS]
    torch.testing.assert_close(shortened[0, :5], x[0, :5])


def test_what_a_missing_modality_holds_is_never_read() -> None:
    network, batch = small_network(), random_batch(dtype=torch.float64)
    available = torch.tensor([[True, False, True]]).expand(len(batch), -1)
    expected = network(batch, available)
    batch.features["v"].fill_(1e6)
    assert torch.equal(network(batch, available), expected)
    batch.features["v"].requires_grad_()
    network(batch, available).sum().backward()
    assert batch.features["v"].grad is not None
    assert not batch.features["v"].grad.any()


def test_the_order_of_frames_matters() -> None:
    network, batch = small_network(), random_batch(dtype=torch.float64)
    available = torch.ones(len(batch), 3, dtype=torch.bool)
    expected = network(batch, available)
    longest = batch.lengths["a"].argmax()
    batch.features["a"][longest] = batch.features["a"][longest].flip(0)
    assert not torch.allclose(network(batch, available)[longest], expected[longest])


def test_positions_are_sines_and_cosines() -> None:
    encoded = positions(5, 6)
    assert encoded[0].tolist() == [0, 1, 0, 1, 0, 1]
    torch.testing.assert_close(encoded[3, 2], torch.tensor(3 / 10000 ** (2 / 6)).sin())


def test_the_learning_rate_rises_and_then_falls_to_nothing() -> None:
    hyperparameters = TransformerHyperparameters(epochs=10, warmup_epochs=3, learning_rate=1.0)
    rates = [warmup_then_cosine(hyperparameters, epoch) for epoch in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.06
