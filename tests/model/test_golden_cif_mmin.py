"""CIF-MMIN with the weights of the released program gives what that program computed from them, to 1e-9."""

from itertools import chain
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ifmmin.data.batches import Batch
from ifmmin.data.modalities import AVT
from ifmmin.model.definition import Shape
from ifmmin.model.encoders import Encoders, SpecificityEncoders, TextEncoder
from ifmmin.model.imagination import Autoencoder
from ifmmin.model.layers import Classifier
from ifmmin.model.systems.cif_mmin import CIFMMIN, CIFMMINHyperparameters, ConsistencyPretraining, contrast

GOLDEN = load_file(Path(__file__).parent / "golden" / "cif-mmin.safetensors")
SHAPE = Shape(AVT, {"a": 5, "v": 6, "t": 7}, 4)
LETTERS = SHAPE.letters
HIDDEN = 16
ORDER = torch.cat([torch.arange(HIDDEN) + HIDDEN * block for block in (0, 2, 1)])
"""From the order a, t, v of the released program to a, v, t."""


def golden(prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in GOLDEN.items() if key.startswith(f"{prefix}/")}


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def load_layer(layer: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    layer.load_state_dict({"weight": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]})


def load_lstms(encoders: Encoders, prefix: str, modalities: str) -> None:
    for modality in modalities:
        weights = golden(f"{prefix}_{modality}")
        encoders.get_submodule(f"{modality}.lstm").load_state_dict(
            {key.removeprefix("rnn."): value for key, value in weights.items()}
        )


def load_encoders(network: ConsistencyPretraining | CIFMMIN, stage: str) -> None:
    load_lstms(network.encoders, f"cif-mmin/{stage}/enc", "av")
    load_lstms(network.consistency, f"cif-mmin/{stage}/con", "avt")
    text, weights = network.encoders.of("t"), golden(f"cif-mmin/{stage}/enc_t")
    assert isinstance(text, TextEncoder)
    for index, convolution in enumerate(text.convolutions, 1):
        weight = weights[f"conv{index}.weight"].squeeze(1).transpose(1, 2)
        convolution.load_state_dict({"weight": weight, "bias": weights[f"conv{index}.bias"]})
    load_layer(text.output, weights, "embd.0")


def with_wide_text_encoder(encoders: SpecificityEncoders) -> None:
    """The released TextCNN has 128 channels whatever its output's size."""
    encoder = TextEncoder(7, 128)
    encoder.output = nn.Linear(3 * 128, HIDDEN)
    encoders.t = encoder


def load_classifier(classifier: Classifier, stage: str) -> None:
    weights = golden(f"cif-mmin/{stage}/classifier")
    weights["module.0.weight"] = weights["module.0.weight"][:, ORDER]
    for name, layer in zip(("module.0", "module.3", "fc_out"), [*classifier.layers, classifier.output], strict=True):
        load_layer(layer, weights, name)


def load_imagination(network: CIFMMIN) -> None:
    weights = golden("cif-mmin/stage2/imagination")
    for name in [f"encoder_{block}.0.weight" for block in range(5)] + ["transition.0.weight"]:
        weights[name] = weights[name][:, ORDER]
    for name in [f"decoder_{block}.4" for block in range(5)] + ["transition.2"]:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            weights[f"{name}.weight"][ORDER],
            weights[f"{name}.bias"][ORDER],
        )
    for index, block in enumerate(network.imagination.blocks):
        assert isinstance(block, Autoencoder)
        for position in (0, 2, 4):
            load_layer(block.encoder[position], weights, f"encoder_{index}.{position}")
            load_layer(block.decoder[position], weights, f"decoder_{index}.{position}")
    for position in (0, 2):
        load_layer(network.imagination.output[position], weights, f"transition.{position}")


@pytest.fixture
def batch() -> Batch:
    inputs = golden("input")
    lengths = {m: torch.full((12,), inputs[m].shape[1]) for m in LETTERS}
    return Batch({m: inputs[m] for m in LETTERS}, lengths, inputs["label"], torch.arange(12))


@pytest.fixture
def stage1() -> ConsistencyPretraining:
    network = ConsistencyPretraining(SHAPE, 0.0, hidden=HIDDEN)
    with_wide_text_encoder(network.encoders)
    network = network.double()
    load_encoders(network, "stage1")
    for modality, projection in network.projections.items():
        weights = golden(f"cif-mmin/stage1/shared_{modality}")
        for index, name in ((0, "shared_1"), (2, "layer_norm"), (3, "shared_2")):
            load_layer(projection.get_submodule(str(index)), weights, f"netshared.{name}")
    load_classifier(network.classifier, "stage1")
    return network.eval()


@pytest.fixture
def stage2() -> CIFMMIN:
    network = CIFMMIN(SHAPE, 0.0, hidden=HIDDEN, block_sizes=(24, 12, 8))
    with_wide_text_encoder(network.encoders)
    network = network.double()
    load_encoders(network, "stage2")
    load_imagination(network)
    load_classifier(network.classifier, "stage2")
    return network.eval()


def check_gradient_norms(network: ConsistencyPretraining | CIFMMIN, stage: str) -> None:
    parts = {f"enc_{m}": network.encoders.get_submodule(m) for m in LETTERS}
    parts |= {f"con_{m}": network.consistency.get_submodule(m) for m in LETTERS}
    expected = golden(f"cif-mmin/{stage}/expected/gradient_norm")
    if isinstance(network, ConsistencyPretraining):
        parts |= {f"shared_{m}": network.projections[m] for m in LETTERS}
    else:
        parts["imagination"] = network.imagination
    parts["classifier"] = network.classifier
    assert set(parts) == set(expected)
    for name, part in parts.items():
        gradients = [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        close(torch.stack([gradient.norm() for gradient in gradients]).norm(), expected[name])


def test_stage_1_outputs(stage1: ConsistencyPretraining, batch: Batch) -> None:
    expected = golden("cif-mmin/stage1/expected")
    h, consistency = stage1.encoders(batch), stage1.consistency(batch)
    projected = stage1.projected(consistency)
    for index, modality in enumerate(LETTERS):
        close(h[:, index], expected[f"h_{modality}"])
        close(consistency[:, index], expected[f"con_{modality}"])
        close(projected[:, index], expected[f"shared_{modality}"])
    close(stage1.classifier(h.flatten(1)), expected["logits"])


def test_contrasts_of_pairs() -> None:
    expected = golden("cif-mmin/stage1/expected")
    unit = {m: nn.functional.normalize(expected[f"shared_{m}"], dim=1) for m in LETTERS}
    for first, second in ("at", "vt", "av"):
        close(contrast(unit[first], unit[second]), expected[f"L_{first}{second}"])


def test_stage_1_losses_and_gradient_norms(stage1: ConsistencyPretraining, batch: Batch) -> None:
    expected = golden("cif-mmin/stage1/expected")
    losses = stage1.losses(batch, 1.0)
    close(losses.terms["cls"], expected["L_cls"])
    close(losses.total, expected["loss"])
    losses.total.backward()  # type: ignore[no-untyped-call]
    check_gradient_norms(stage1, "stage1")


def test_stage_2_outputs(stage2: CIFMMIN, batch: Batch) -> None:
    expected = golden("cif-mmin/stage2/expected")
    available = GOLDEN["input/mask_a_v_t"].bool()
    h, consistency = stage2.encoders(batch, available), stage2.consistency(batch, available)
    imagined, logits = stage2(h, consistency)
    outputs = {"h": h, "con": consistency, "imagined": imagined, "joint": h + imagined}
    for name, output in outputs.items():
        close(output.flatten(1), expected[name][:, ORDER])
    close(logits, expected["logits"])


def test_stage_2_losses_and_gradient_norms(stage1: ConsistencyPretraining, stage2: CIFMMIN, batch: Batch) -> None:
    expected = golden("cif-mmin/stage2/expected")
    available = GOLDEN["input/mask_a_v_t"].bool()
    with torch.no_grad():
        teacher, target = stage1.encoders.both(batch), stage1.consistency(batch)
    close(teacher.under(~available).flatten(1), expected["teacher_target"][:, ORDER])
    close(target.flatten(1), expected["teacher_con"][:, ORDER])
    losses = stage2.losses(batch, available, teacher, target, CIFMMINHyperparameters())
    for name in ("cls", "img", "con"):
        close(losses.terms[name], expected[f"L_{name}"])
    close(losses.total, expected["loss"])
    losses.total.backward()  # type: ignore[no-untyped-call]
    check_gradient_norms(stage2, "stage2")


def test_every_parameter_is_clipped_with_its_sub_network(stage1: ConsistencyPretraining, stage2: CIFMMIN) -> None:
    for network in (stage1, stage2):
        clipped = list(chain.from_iterable(network.clipping_groups()))
        assert len(clipped) == len({id(parameter) for parameter in clipped}) == len(list(network.parameters()))
    assert len(stage1.clipping_groups()) == 10
    assert len(stage2.clipping_groups()) == 8
