"""The state of a training after an epoch: enough to resume it in another process with bit-identical results."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ifmmin.model.definition import Network
from ifmmin.model.history import Checkpoint, Epoch


def capture(
    network: Network,
    optimizer: torch.optim.Optimizer,
    generators: Sequence[torch.Generator],
    best: Mapping[str, torch.Tensor],
    history: Sequence[Epoch],
) -> Checkpoint:
    """A copy of the state of a training: `network/…`, `best/…`, `optimizer/…` (moments) and `generator/…` (states)."""
    arrays = {f"network/{name}": value for name, value in network.state_dict().items()}
    arrays |= {f"best/{name}": value for name, value in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        known = {name: torch.as_tensor(value) for name, value in state.items() if value is not None}
        arrays |= {f"optimizer/{index}/{name}": value for name, value in known.items()}
    arrays |= {f"generator/{index}": generator.get_state() for index, generator in enumerate(generators)}
    device = next(network.parameters()).device.type
    copies = {name: np.array(value.detach().cpu().numpy()) for name, value in arrays.items()}
    return Checkpoint(copies, tuple(history), device)


def restore(
    checkpoint: Checkpoint,
    network: Network,
    optimizer: torch.optim.Optimizer,
    generators: Sequence[torch.Generator],
) -> dict[str, torch.Tensor]:
    """Set network, optimizer and generators to a checkpoint's state; return the best weights so far."""
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "best": {}, "optimizer": {}, "generator": {}}
    device = next(network.parameters()).device
    for key, value in checkpoint.arrays.items():
        part, _, name = key.partition("/")
        parts[part][name] = torch.from_numpy(np.array(value)).to("cpu" if part == "generator" else device)
    network.load_state_dict(parts["network"])
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in parts["optimizer"].items():
        index, _, name = key.partition("/")
        states.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    for name, state in parts["generator"].items():
        generators[int(name)].set_state(state)
    return parts["best"]
