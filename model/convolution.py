"""A convolution over time and the maximum of its responses, with a gradient computed for the maxima only."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ifmmin.model.stacking.vmap import runs_first


def largest_response(x: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The maximum over time of a convolution's responses, (batch, channels), over windows within an utterance.

    Args:
        x: (batch, time, features); it gets no gradient.
        lengths: int64 (batch,), of at least one window each.
        weight: (channels, features, window), as `torch.nn.Conv1d` has it.
        bias: (channels,).
    """
    largest: Tensor = _LargestResponse.apply(x, lengths, weight, bias)[0]  # type: ignore[no-untyped-call]
    return largest


class _LargestResponse(torch.autograd.Function):
    """One window of each utterance and channel reaches the loss. The gradient of the weights is a sum over these.

    A convolution's own backward pass would multiply zeros for all other windows. All tensors may have a leading
    dimension of runs.
    """

    @staticmethod
    def forward(x: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        responses = _responses_of_runs(x, weight, bias) if x.dim() == 4 else _responses(x, weight, bias)
        largest, positions = within(responses, lengths - weight.shape[-1] + 1).max(-2)
        return largest, positions

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        x, _, weight, _ = inputs
        positions = output[1]
        ctx.mark_non_differentiable(positions)
        ctx.save_for_backward(x, positions)
        ctx.window = weight.shape[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[None, None, Tensor, Tensor]:
        x, positions = ctx.saved_tensors
        firsts = x.shape[-2] * torch.arange(x[..., 0, 0].numel(), device=x.device).view(*x.shape[:-2], 1)
        starts, factors = (positions + firsts).mT.flatten(0, -2), gradient.to(x.dtype).mT.flatten(0, -2)
        weighted = _sums_of_some if x.device.type == "cpu" else _sums
        weight = weighted(x.flatten(0, -2), starts, factors, ctx.window)
        return None, None, weight.view(ctx.window, *gradient.mT.shape[:-1], -1).movedim(0, -1), gradient.sum(-2)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *tensors: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        return _LargestResponse.apply(*runs_first(tensors, in_dims, info.batch_size)), (0, 0)  # type: ignore[no-untyped-call]


def _responses(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(batch, windows, channels)."""
    features_first = x.transpose(1, 2).unsqueeze(2)  # an image of one row in "channels last" order: nothing moves
    return F.conv2d(features_first, weight.unsqueeze(2), bias).squeeze(2).transpose(1, 2)


def _responses_of_runs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(runs, batch, windows, channels): one matrix product of each run's frames with all steps of its windows."""
    runs, batch, time, _ = x.shape
    channels, _, window = weight.shape[1:]
    products = torch.bmm(x.flatten(1, 2), weight.permute(0, 2, 3, 1).flatten(2))
    products = products.view(runs, batch, time, window, channels)
    windows = time - window + 1
    shifted = [products[:, :, step : step + windows, step] for step in range(window)]
    return torch.stack(shifted).sum(0) + bias[:, None, None]


def _sums(frames: Tensor, starts: Tensor, factors: Tensor, window: int) -> Tensor:
    """For each step of a window and each channel the sum of factor times frame, (window x channels, features).

    Args:
        frames: (all frames, features).
        starts: where each channel's windows start, (channels, windows).
        factors: (channels, windows).
    """
    steps = torch.arange(window, device=frames.device)[:, None, None]
    return F.embedding_bag(
        (starts + steps).flatten(0, 1), frames, mode="sum", per_sample_weights=factors.repeat(window, 1)
    )


def _sums_of_some(frames: Tensor, starts: Tensor, factors: Tensor, window: int) -> Tensor:
    """The same without the windows whose factor is zero: dropout and ReLU cause many. A GPU's driver would wait."""
    matters = factors != 0
    counts = matters.sum(1)
    steps = torch.arange(window)[:, None]
    starts = starts[matters]
    offsets = counts.cumsum(0) - counts + len(starts) * steps
    return F.embedding_bag(
        (starts + steps).flatten(),
        frames,
        offsets.flatten(),
        mode="sum",
        per_sample_weights=factors[matters].repeat(window),
    )


def within(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Outputs (..., batch, time, features), with -inf beyond each utterance's length."""
    beyond = torch.arange(outputs.shape[-2], device=outputs.device) >= lengths[..., None]
    return outputs.masked_fill(beyond[..., None], -torch.inf)
