from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ifmmin.data.batches import Batch, Examples
from ifmmin.data.conditions import Condition
from ifmmin.data.modalities import AVT
from ifmmin.model.definition import Shape
from ifmmin.model.initialisation import initialise
from ifmmin.model.layers import load_weights
from ifmmin.model.run import Start
from ifmmin.model.systems.mctn import MCTN, SYSTEM, MCTNHyperparameters, on_grid
from ifmmin.model.training import train
from tests.small import DIMENSIONS, make_corpus, random_batch

STEPS = 6


def make_network(condition: str, dtype: torch.dtype = torch.float64) -> MCTN:
    network = MCTN(Shape(AVT, DIMENSIONS, 3, Condition(condition)), 0.3, STEPS, hidden=8)
    initialise(network, torch.Generator().manual_seed(1))
    return network.to(dtype)


def encode(network: MCTN, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    source = on_grid(batch, network.condition.available, STEPS)
    encoded: tuple[Tensor, tuple[Tensor, Tensor]] = network.encoder(network.available.read(source))
    return encoded


def translate(network: MCTN, batch: Batch, truth: Tensor | None = None, forced: Tensor | None = None) -> Tensor:
    return network.translate(*encode(network, batch), network.missing, truth, forced)


def one(sequence: list[float], padding: int = 0) -> Batch:
    """A batch of one utterance whose acoustic sequence is this, one feature wide."""
    x = torch.tensor(sequence + [99.0] * padding)[None, :, None]
    return replace(random_batch(1), features={"a": x}, lengths={"a": torch.tensor([len(sequence)])})


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 3, 5, 7, 9, 11], [2, 6, 10]),
        ([4], [4, 4, 4]),
        ([0, 6], [0, 3, 6]),
        ([1, 2, 3, 4], [1.25, 2.5, 3.75]),
    ],
)
def test_a_cell_of_the_grid_is_the_mean_of_the_frames_it_covers(sequence: list[float], expected: list[float]) -> None:
    grid = on_grid(one(sequence, padding=4), ("a",), 3)
    torch.testing.assert_close(grid[0, :, 0], torch.tensor(expected, dtype=torch.float32))


def test_the_grid_keeps_the_mean_of_every_sequence() -> None:
    batch = random_batch(20, torch.float64)
    grid = on_grid(batch, ("a", "t"), 7)
    modalities: tuple[str, ...] = ("a", "t")
    parts = torch.split(grid, [DIMENSIONS["a"], DIMENSIONS["t"]], 2)
    for modality, part in zip(modalities, parts, strict=True):
        means = batch.features[modality].sum(1) / batch.lengths[modality][:, None]
        torch.testing.assert_close(part.mean(1), means)


def test_running_freely_it_reads_what_it_wrote() -> None:
    network, batch = make_network("a"), random_batch(5, torch.float64)
    free = translate(network, batch)
    forced = translate(network, batch, truth=free, forced=torch.ones(5, STEPS, dtype=torch.bool))
    torch.testing.assert_close(free, forced)


def test_a_forced_step_reads_the_truth_and_earlier_ones_do_not() -> None:
    network, batch = make_network("a"), random_batch(5, torch.float64)
    truth = on_grid(batch, ("v", "t"), STEPS)
    forced = torch.zeros(5, STEPS, dtype=torch.bool)
    forced[2, 3] = True
    changed = translate(network, batch, truth, forced) != translate(network, batch)
    assert changed[2, 4:].any(-1).all()
    assert not changed[2, :4].any()
    assert not changed[[0, 1, 3, 4]].any()


def test_the_decoder_attends_by_the_softmax_of_scores() -> None:
    decoder = make_network("v").decoder
    generator = torch.Generator().manual_seed(3)
    x, hidden, memory = torch.randn(3, 4, 8, generator=generator, dtype=torch.float64)
    encoded = torch.randn(4, STEPS, 8, generator=generator, dtype=torch.float64)
    output, (after, _) = decoder(x, (hidden, memory), encoded)
    state, states = after.detach().numpy(), encoded.numpy()
    scores = np.einsum("bd,ed,bse->bs", state, decoder.query.weight.detach().numpy(), states)
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    joined = np.concatenate([state, np.einsum("bs,bsd->bd", shares, states)], 1)
    expected = np.tanh(joined @ decoder.combine.weight.detach().numpy().T + decoder.combine.bias.detach().numpy())
    np.testing.assert_allclose(output.detach().numpy(), expected, rtol=1e-10)


def test_losses_are_classification_translation_and_the_way_back() -> None:
    network, batch = make_network("at"), random_batch(5, torch.float64)
    parameters = MCTNHyperparameters(steps=STEPS, translation_weight=3, cycle_weight=5)
    losses = network.losses(batch, parameters)
    translated = translate(network, batch)
    encoded, state = network.encoder(network.missing.read(translated))
    returned = network.translate(encoded, state, network.available)
    translation = (translated - on_grid(batch, ("v",), STEPS)).square().mean()
    cycle = (returned - on_grid(batch, ("a", "t"), STEPS)).square().mean()
    classification = -network.logits(batch, (Condition("at"),))[0].log_softmax(-1)[torch.arange(5), batch.labels].mean()
    torch.testing.assert_close(losses.total, classification + 3 * translation + 5 * cycle)
    assert set(losses.terms) == {"cls", "trans", "cycle"}


def test_teacher_forcing_follows_its_rate_and_its_generator() -> None:
    network, batch = make_network("a"), random_batch(5, torch.float64)

    def translation(rate: float, seed: int) -> float:
        parameters = MCTNHyperparameters(steps=STEPS, teacher_forcing=rate)
        return network.losses(batch, parameters, torch.Generator().manual_seed(seed)).terms["trans"].item()

    assert translation(0, 1) == translation(0, 2) == network.losses(batch, MCTNHyperparameters()).terms["trans"].item()
    assert translation(0.5, 1) == translation(0.5, 1) != translation(0.5, 2)


def test_with_nothing_missing_there_is_nothing_to_translate() -> None:
    losses = make_network("avt").losses(random_batch(5, torch.float64), MCTNHyperparameters(steps=STEPS))
    assert set(losses.terms) == {"cls"}
    assert losses.total == losses.terms["cls"]


def test_a_free_translation_of_unseen_utterances_comes_nearer_than_the_mean() -> None:
    corpus = make_corpus(utterances=96)
    definition = SYSTEM.stages["train"]
    hyperparameters = MCTNHyperparameters(steps=STEPS, epochs=25, batch_size=16, learning_rate=5e-3)
    trained = train(definition, hyperparameters, corpus, Start(1, 0), condition=Condition("at"))
    network = definition.network(Shape(AVT, DIMENSIONS, 3, Condition("at")), hyperparameters)
    load_weights(network, trained.weights)
    assert isinstance(network, MCTN)
    sets = [Examples(corpus, 1, name) for name in ("train", "test")]
    training, test = (examples.batch(torch.arange(len(examples))) for examples in sets)
    truth, mean = on_grid(test, ("v",), STEPS), on_grid(training, ("v",), STEPS).mean((0, 1))
    assert (translate(network, test) - truth).square().mean() < 0.5 * (truth - mean).square().mean()
