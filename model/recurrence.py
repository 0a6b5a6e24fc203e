"""An LSTM for one run, which is PyTorch's, and for several runs at once, whose weights differ."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ifmmin.model.stacking.vmap import is_stacked, runs_first


def run_lstm(lstm: nn.LSTM, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What a one-layer `lstm(x)` returns, of x (batch, time, features); under `torch.vmap` its weights may differ."""
    of_input, of_output, input_bias, output_bias = lstm.parameters()
    if not is_stacked(of_output):
        outputs, state = lstm(x)
        return outputs, state
    outputs, memories = scan(F.linear(x, of_input, input_bias + output_bias), of_output)
    return outputs, (outputs[:, -1][None], memories[:, -1][None])


def run_lstm_cell(cell: nn.LSTMCell, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """What `cell(x, state)` returns, of x (batch, features); under `torch.vmap` its weights may differ."""
    of_input, of_output, input_bias, output_bias = cell.parameters()
    if not is_stacked(of_output):
        output, memory = cell(x, state)
        return output, memory
    gates = F.linear(x, of_input, input_bias) + F.linear(state[0], of_output, output_bias)
    i, f, g, o = gates.chunk(4, -1)
    memory = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * memory.tanh(), memory


def scan(gates: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM's outputs and cell states, twice (batch, time, hidden), from a zero state.

    Args:
        gates: what the input adds to the gates, in PyTorch's order i, f, g, o, (batch, time, 4 x hidden).
        weight: of the output of the step before, (4 x hidden, hidden).
    """
    outputs, memories, _ = _Scan.apply(gates, weight)  # type: ignore[no-untyped-call]
    return outputs, memories


class _Scan(torch.autograd.Function):
    """All tensors may have a leading dimension of runs: then a step is one batched matrix product for all of them."""

    @staticmethod
    def forward(gates: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        *lead, time, width = gates.shape
        recurrent = weight.mT.to(gates.dtype)
        output = memory = gates.new_zeros(*lead, width // 4)
        outputs, memories, opened = [], [], []
        for step in range(time):
            i, f, g, o = (gates[..., step, :] + output @ recurrent).chunk(4, -1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            memory = torch.addcmul(f * memory, i, g)
            output = o * memory.tanh()
            outputs.append(output)
            memories.append(memory)
            opened.append(torch.stack([i, f, g, o], -2))
        return torch.stack(outputs, -2), torch.stack(memories, -2), torch.stack(opened, -3)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(inputs[1], *output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor, by_memories: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        weight, outputs, memories, opened = ctx.saved_tensors
        recurrent = weight.to(outputs.dtype)
        bent = memories.tanh()
        before = F.pad(memories, (0, 0, 1, 0))[..., :-1, :]
        i, f, g, o = opened.unbind(-2)
        # How a gate's argument changes the memory (or, of o, the output) is known for all steps before the loop.
        slopes = torch.stack([g * i * (1 - i), before * f * (1 - f), i * (1 - g * g)], -2)
        o_slopes, bend = bent * o * (1 - o), o * (1 - bent * bent)
        by_output = by_memory = torch.zeros_like(outputs[..., 0, :])
        by_gates: list[Tensor] = []
        for step in reversed(range(outputs.shape[-2])):
            by_output = by_outputs[..., step, :] + by_output
            by_memory = by_memories[..., step, :] + torch.addcmul(by_memory, by_output, bend[..., step, :])
            changes = torch.cat(
                [by_memory[..., None, :] * slopes[..., step, :, :], (by_output * o_slopes[..., step, :])[..., None, :]],
                -2,
            ).flatten(-2)
            by_gates.append(changes)
            by_output, by_memory = changes @ recurrent, by_memory * f[..., step, :]
        by_gate = torch.stack(by_gates[::-1], -2)
        earlier = F.pad(outputs, (0, 0, 1, 0))[..., :-1, :]
        by_weight = by_gate.flatten(-3, -2).mT @ earlier.flatten(-3, -2)
        return by_gate, by_weight.to(weight.dtype)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *tensors: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int]]:
        return _Scan.apply(*runs_first(tensors, in_dims, info.batch_size)), (0, 0, 0)  # type: ignore[no-untyped-call]
