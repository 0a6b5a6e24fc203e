"""A convolution over time and the maximum of its responses, with a gradient that only the maxima cost."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def largest_response(x: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The maximum over time of a convolution's responses, (batch, channels), over windows within an utterance.

    Args:
        x: (batch, time, features); it gets no gradient.
        lengths: int64 (batch,), of at least one window each.
        weight: (channels, features, window), as `torch.nn.Conv1d` has it.
        bias: (channels,).
    """
    responses: Tensor = _LargestResponse.apply(x, lengths, weight, bias)  # type: ignore[no-untyped-call]
    return responses


class _LargestResponse(torch.autograd.Function):
    """One window of each utterance and channel reaches the loss. The gradient of the weights is a sum over these.

    A convolution's own backward pass would multiply zeros for all other windows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        features_first = x.transpose(1, 2).unsqueeze(2)  # an image of one row in "channels last" order: nothing moves
        responses = F.conv2d(features_first, weight.unsqueeze(2), bias).squeeze(2).transpose(1, 2)
        largest, positions = within(responses, lengths - weight.shape[2] + 1).max(1)
        ctx.save_for_backward(x, positions)
        ctx.window = weight.shape[2]
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor, Tensor]:
        x, positions = ctx.saved_tensors
        batch, time, _ = x.shape
        steps = torch.arange(ctx.window, device=x.device)[:, None]
        by_channel = gradient.to(x.dtype).t()
        matters = by_channel != 0  # dropout and ReLU stop many
        starts = (positions + time * torch.arange(batch, device=x.device)[:, None]).t()[matters]
        counts = matters.sum(1)
        weight = F.embedding_bag(
            (starts + steps).flatten(),
            x.flatten(0, 1),
            (counts.cumsum(0) - counts + len(starts) * steps).flatten(),
            mode="sum",
            per_sample_weights=by_channel[matters].repeat(ctx.window),
        )
        return None, None, weight.view(ctx.window, *by_channel.shape[:1], -1).permute(1, 2, 0), gradient.sum(0)


def within(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Outputs (batch, time, features), with -inf beyond each utterance's length."""
    beyond = torch.arange(outputs.shape[1], device=outputs.device) >= lengths[:, None]
    return outputs.masked_fill(beyond[..., None], -torch.inf)
