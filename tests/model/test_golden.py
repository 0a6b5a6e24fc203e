"""Our networks with the weights of the released program give what that program computed from them, to 1e-10."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ifmmin.data.batches import Batch
from ifmmin.data.modalities import AVT
from ifmmin.model.definition import Shape
from ifmmin.model.encoders import SequenceEncoder, SpecificityEncoders, TextEncoder
from ifmmin.model.imagination import Autoencoder, Imagination
from ifmmin.model.layers import Classifier
from ifmmin.model.losses import central_moment_discrepancy, pairwise_discrepancy
from ifmmin.model.systems.if_mmin import IFMMIN, InvariancePretraining, Targets
from ifmmin.model.systems.mmin import MMIN, MMINHyperparameters
from tests.small import LETTERS

GOLDEN = load_file(Path(__file__).parent / "golden" / "networks.safetensors")
SHAPE = Shape(AVT, {"a": 5, "v": 6, "t": 7}, 4)


def golden(prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in GOLDEN.items() if key.startswith(f"{prefix}/")}


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def load_linear(layer: nn.Linear, weights: Mapping[str, Tensor], name: str) -> None:
    layer.load_state_dict({"weight": weights[f"{name}_weight"], "bias": weights[f"{name}_bias"]})


def load_linears(layers: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    linears = [layer for layer in layers.children() if isinstance(layer, nn.Linear)]
    for index, layer in enumerate(linears):
        load_linear(layer, weights, f"{name}{index}")


def load_encoders(encoders: SpecificityEncoders, prefix: str) -> None:
    for name in ("a", "v"):
        encoder = encoders.get_submodule(name)
        assert isinstance(encoder, SequenceEncoder)
        encoder.lstm.load_state_dict({f"{key}_l0": value for key, value in golden(f"{prefix}/enc_{name}").items()})
    text = encoders.get_submodule("t")
    assert isinstance(text, TextEncoder)
    load_text(text, golden(f"{prefix}/enc_t"))


def load_text(encoder: TextEncoder, weights: Mapping[str, Tensor]) -> None:
    for window, convolution in zip((3, 4, 5), encoder.convolutions, strict=True):
        weight = weights[f"conv{window}_weight"].transpose(1, 2)
        convolution.load_state_dict({"weight": weight, "bias": weights[f"conv{window}_bias"]})
    load_linear(encoder.output, weights, "linear")


def load_classifier(classifier: Classifier, prefix: str) -> None:
    for index, layer in enumerate([*classifier.layers, classifier.output]):
        load_linear(layer, golden(f"{prefix}/classifier"), f"linear{index}")


def load_imagination(imagination: Imagination, prefix: str) -> None:
    for index, block in enumerate(imagination.blocks):
        assert isinstance(block, Autoencoder)
        load_linears(block.encoder, golden(f"{prefix}/block{index}"), "encoder")
        load_linears(block.decoder, golden(f"{prefix}/block{index}"), "decoder")
    load_linears(imagination.output, golden(prefix), "out")


def gradient_norms(groups: Iterable[Iterable[nn.Parameter]]) -> Tensor:
    norms = [torch.stack([p.grad.norm() for p in group if p.grad is not None]).norm() for group in groups]
    return torch.stack(norms)


@pytest.fixture
def batch() -> Batch:
    inputs = golden("input")
    features = {m: inputs[m] for m in LETTERS}
    lengths = {m: torch.full((12,), inputs[m].shape[1]) for m in LETTERS}
    return Batch(features, lengths, inputs["label"], torch.arange(12))


@pytest.fixture
def stage1() -> InvariancePretraining:
    network = InvariancePretraining(SHAPE, 0.0, hidden=16).double()
    load_encoders(network.encoders, "stage1")
    load_linears(network.invariance, golden("stage1/enc_inv"), "linear")
    load_classifier(network.classifier, "stage1")
    return network


@pytest.fixture
def if_mmin() -> IFMMIN:
    network = IFMMIN(SHAPE, 0.0, hidden=16, block_sizes=(24, 12, 8)).double()
    load_encoders(network.encoders, "if-mmin")
    load_linears(network.invariance, golden("if-mmin/enc_inv"), "linear")
    load_imagination(network.imagination, "if-mmin/imagination")
    load_classifier(network.classifier, "if-mmin")
    return network


def test_stage_1_outputs(stage1: InvariancePretraining, batch: Batch) -> None:
    expected = golden("stage1/expected")
    h = stage1.encoders(batch, torch.ones(12, 3, dtype=torch.bool))
    invariant, logits = stage1(h)
    for index, modality in enumerate("avt"):
        close(h[:, index], expected[f"h_{modality}"])
        close(invariant[:, index], expected[f"H_{modality}"])
    close(logits, expected["logits"])


@pytest.mark.parametrize("moment_order", range(1, 8))
def test_stage_1_losses(stage1: InvariancePretraining, batch: Batch, moment_order: int) -> None:
    expected = golden("stage1/expected")
    losses = stage1.losses(batch, moment_order)
    close(losses.terms["cls"], expected["L_cls"])
    close(losses.terms["cmd"], expected[f"L_cmd_K{moment_order}"])
    close(losses.total, losses.terms["cls"] + losses.terms["cmd"])


def test_stage_1_gradient_norms(stage1: InvariancePretraining, batch: Batch) -> None:
    stage1.losses(batch, 5).total.backward()  # type: ignore[no-untyped-call]
    close(gradient_norms(stage1.clipping_groups()), golden("stage1/expected")["grad_norms_a_v_t_inv_classifier_K5"])


def targets_of(stage1: InvariancePretraining, batch: Batch) -> Targets:
    with torch.no_grad():
        specific = stage1.encoders.both(batch)
        return Targets(specific, stage1.invariance(specific.real))


def test_if_mmin_outputs(if_mmin: IFMMIN, batch: Batch) -> None:
    expected = golden("if-mmin/expected")
    h = if_mmin.encoders(batch, GOLDEN["input/mask_a_v_t"].bool())
    invariant, imagined, logits = if_mmin(h)
    _, representation = if_mmin.imagination(h.flatten(1), invariant.flatten(1))
    close(h.flatten(1), expected["h"])
    close(invariant.flatten(1), expected["H_prime"])
    close(imagined.flatten(1), expected["imagined"])
    close(representation, expected["C"])
    close(logits, expected["logits"])


def test_if_mmin_targets_of_the_teacher(stage1: InvariancePretraining, batch: Batch) -> None:
    expected = golden("if-mmin/expected")
    targets = targets_of(stage1, batch)
    close(targets.specific[batch.rows].under(~GOLDEN["input/mask_a_v_t"].bool()).flatten(1), expected["teacher_target"])
    close(targets.invariant.flatten(1), expected["teacher_H"])


def test_if_mmin_losses_and_gradient_norms(stage1: InvariancePretraining, if_mmin: IFMMIN, batch: Batch) -> None:
    expected = golden("if-mmin/expected")
    losses = if_mmin.losses(batch, GOLDEN["input/mask_a_v_t"].bool(), targets_of(stage1, batch), 1.0, 100.0)
    for name in ("cls", "img", "inv"):
        close(losses.terms[name], expected[f"L_{name}"])
    close(losses.total, expected["loss"])
    losses.total.backward()  # type: ignore[no-untyped-call]
    close(gradient_norms(if_mmin.clipping_groups()), expected["grad_norms_a_v_t_inv_imagination_classifier"])


def test_if_mmin_logits_of_a_condition_equal_those_of_masked_utterances(if_mmin: IFMMIN, batch: Batch) -> None:
    from ifmmin.data.conditions import Condition

    masks = GOLDEN["input/mask_a_v_t"].bool()
    conditions = [Condition("".join(m for m, on in zip("avt", mask, strict=True) if on)) for mask in masks.tolist()]
    logits = if_mmin.logits(batch, conditions)
    close(logits[torch.arange(12), torch.arange(12)], golden("if-mmin/expected")["logits"])


@pytest.fixture
def mmin() -> MMIN:
    network = MMIN(SHAPE, 0.0, hidden=16, block_sizes=(24, 12, 8)).double()
    load_encoders(network.encoders, "mmin")
    load_imagination(network.imagination, "mmin/forward")
    load_imagination(network.backward_imagination, "mmin/backward")
    load_classifier(network.classifier, "mmin")
    return network


def test_mmin_outputs(mmin: MMIN, batch: Batch) -> None:
    expected = golden("mmin/expected")
    h = mmin.encoders(batch, GOLDEN["input/mask_a_v_t"].bool())
    imagined, logits = mmin(h)
    close(imagined.flatten(1), expected["imagined"])
    close(mmin.imagination(h.flatten(1))[1], expected["C"])
    close(mmin.cycle(imagined).flatten(1), expected["cycled"])
    close(logits, expected["logits"])


def test_mmin_losses_and_gradient_norms(stage1: InvariancePretraining, mmin: MMIN, batch: Batch) -> None:
    expected = golden("mmin/expected")
    with torch.no_grad():
        teacher = stage1.encoders.both(batch)
    losses = mmin.losses(batch, GOLDEN["input/mask_a_v_t"].bool(), teacher, MMINHyperparameters())
    for name in ("cls", "img", "cycle"):
        close(losses.terms[name], expected[f"L_{name}"])
    close(losses.total, expected["loss"])
    losses.total.backward()  # type: ignore[no-untyped-call]
    encoders = [mmin.encoders.get_submodule(letter) for letter in LETTERS]
    parts = [*encoders, mmin.imagination, mmin.backward_imagination, mmin.classifier]
    close(gradient_norms(part.parameters() for part in parts), expected["grad_norms_a_v_t_forward_backward_classifier"])


@pytest.mark.parametrize("moment_order", range(1, 8))
def test_cmd(moment_order: int) -> None:
    discrepancy = central_moment_discrepancy(GOLDEN["cmd/x"], GOLDEN["cmd/y"], moment_order)
    close(discrepancy, GOLDEN[f"cmd/expected/K{moment_order}"])


def test_pairwise_cmd_is_the_mean_over_the_three_pairs() -> None:
    x, y = GOLDEN["cmd/x"], GOLDEN["cmd/y"]
    pairs = [
        central_moment_discrepancy(x, y, 5),
        central_moment_discrepancy(x, -x, 5),
        central_moment_discrepancy(y, -x, 5),
    ]
    close(pairwise_discrepancy(torch.stack([x, y, -x], 1), 5), torch.stack(pairs).mean())
