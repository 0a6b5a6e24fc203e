"""MoMKE with given weights gives what its authors' network computed from them, to 1e-9."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ifmmin.data.batches import Batch
from ifmmin.data.conditions import Condition, all_conditions
from ifmmin.data.dialogues import Dialogues
from ifmmin.data.modalities import AVT
from ifmmin.model.definition import Shape
from ifmmin.model.systems.momke import Expert, ExpertPretraining, Experts, MoMKE, MoMKEHyperparameters

GOLDEN = load_file(Path(__file__).parent / "golden" / "momke.safetensors")
WEIGHTS = {name.removeprefix("momke/weights/"): value for name, value in GOLDEN.items() if "/weights/" in name}
HYPERPARAMETERS = MoMKEHyperparameters(head_width=8, depth=2, dropout=0.0)
LETTERS = ("a", "v", "t")
EXPERTS = torch.tensor([0, 2, 1])
"""From the order a, t, v of the released program to a, v, t."""
COLUMNS = torch.cat([torch.arange(16) + 16 * block for block in EXPERTS])
VALID = torch.arange(6) < GOLDEN["input/lengths"][:, None]


def shape(condition: Condition | None = None) -> Shape:
    return Shape(AVT, {"a": 5, "v": 6, "t": 7}, 4, condition)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def load(layer: nn.Module, name: str) -> None:
    layer.load_state_dict({"weight": WEIGHTS[f"{name}.weight"], "bias": WEIGHTS[f"{name}.bias"]})


def load_experts(experts: Experts) -> None:
    for letter in LETTERS:
        load(experts.projections[letter], f"{letter}_in_proj.0")
        expert = experts.experts[letter]
        assert isinstance(expert, Expert)
        for index, layer in enumerate(expert.layers):
            names = {"query": "q", "key": "k", "value": "v", "inner": "mlp.fc1", "outer": "mlp.fc2"}
            for ours, theirs in names.items():
                load(layer.get_submodule(ours), f"block.blocks.{index}.Transformer_{letter}.{theirs}")


def load_router(router: nn.Module, letter: str) -> None:
    load(router.get_submodule("0"), f"router_{letter}.fc1")
    weight, bias = WEIGHTS[f"router_{letter}.fc2.weight"], WEIGHTS[f"router_{letter}.fc2.bias"]
    router.get_submodule("2").load_state_dict({"weight": weight[EXPERTS], "bias": bias[EXPERTS]})


@pytest.fixture
def batch() -> Batch:
    features = {letter: GOLDEN[f"input/{letter}"][VALID][:, None] for letter in LETTERS}
    count = int(VALID.sum())
    dialogues = Dialogues.of([f"dialogue {n}" for n, row in enumerate(VALID.tolist()) for there in row if there])
    places = dialogues.places(torch.arange(count))
    lengths = {letter: torch.ones(count, dtype=torch.int64) for letter in LETTERS}
    return Batch(features, lengths, GOLDEN["input/label"][VALID].long(), torch.arange(count), dialogues=places)


def test_stage_1(batch: Batch) -> None:
    network = ExpertPretraining(shape(), HYPERPARAMETERS).double().eval()
    load_experts(network.experts)
    for letter in LETTERS:
        load(network.outputs[letter], f"nlp_head_{letter}")
    losses = []
    for letter, logits in network(batch).items():
        close(logits, GOLDEN[f"momke/stage1/expected/logits_{letter}"][VALID])
        losses.append(GOLDEN[f"momke/stage1/expected/L_{letter}"])
    close(network.losses(batch).total, torch.stack(losses).sum())


@pytest.mark.parametrize("condition", all_conditions("avt"))
def test_stage_2(batch: Batch, condition: Condition) -> None:
    expected = f"momke/stage2/{condition}/expected"
    network = MoMKE(shape(condition), HYPERPARAMETERS).double().eval()
    load_experts(network.experts)
    for letter, router in network.routers.items():
        load_router(router, letter)
    network.joint.load_state_dict(
        {"weight": WEIGHTS["proj1.weight"][COLUMNS][:, COLUMNS], "bias": WEIGHTS["proj1.bias"][COLUMNS]}
    )
    network.output.load_state_dict({"weight": WEIGHTS["nlp_head.weight"][:, COLUMNS], "bias": WEIGHTS["nlp_head.bias"]})
    joint, logits = network(batch)
    close(joint, GOLDEN[f"{expected}/hidden"][VALID][:, COLUMNS])
    close(logits, GOLDEN[f"{expected}/logits"][VALID])
    losses = network.losses(batch)
    close(losses.total, GOLDEN[f"{expected}/L_cls"])
    losses.total.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad.norm() for parameter in network.parameters() if parameter.grad is not None]
    close(torch.stack(gradients).norm(), GOLDEN[f"{expected}/gradient_norm"])
