"""The convolution with its maximum over time against PyTorch's own, values and gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ifmmin.model.convolution import _sums, _sums_of_some, largest_response, within

WINDOW = 3


def drawn(dtype: torch.dtype, batch: int = 6, time: int = 9, features: int = 7, channels: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(batch, time, features, generator=generator, dtype=dtype)
    lengths = torch.randint(WINDOW, time + 1, (batch,), generator=generator)
    weight = torch.randn(channels, features, WINDOW, generator=generator, dtype=dtype, requires_grad=True)
    bias = torch.randn(channels, generator=generator, dtype=dtype, requires_grad=True)
    return [x, lengths, weight, bias]


def plainly(x: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    responses = F.conv1d(x.transpose(1, 2), weight, bias).transpose(1, 2)
    return within(responses, lengths - WINDOW + 1).amax(1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_values_and_gradients_are_those_of_the_convolution_in_full(dtype: torch.dtype, tolerance: float) -> None:
    x, lengths, weight, bias = drawn(dtype)
    actual, expected = largest_response(x, lengths, weight, bias), plainly(x, lengths, weight, bias)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    loss_weights = F.relu(torch.randn(actual.shape, generator=torch.Generator().manual_seed(5), dtype=dtype))
    for one, other in zip(
        torch.autograd.grad(actual, [weight, bias], loss_weights),
        torch.autograd.grad(expected, [weight, bias], loss_weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_the_gradient_is_that_of_finite_differences() -> None:
    x, lengths, weight, bias = drawn(torch.float64)
    assert torch.autograd.gradcheck(lambda w, b: largest_response(x, lengths, w, b), (weight, bias))


def test_where_no_response_reaches_the_loss_the_gradient_is_zero() -> None:
    x, lengths, weight, bias = drawn(torch.float32)
    (largest_response(x, lengths, weight, bias) * 0).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert not weight.grad.any()


def test_of_runs_each_has_its_own_values_and_gradients() -> None:
    x, lengths, weight, bias = drawn(torch.float64)
    scales = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)[:, None, None, None]
    inputs, weights = x * scales, (weight * scales).detach().requires_grad_()
    several = torch.stack([lengths, lengths.flip(0), lengths])
    biases = bias.expand(3, -1).detach().clone().requires_grad_()
    actual = torch.vmap(largest_response)(inputs, several, weights, biases)
    alone = torch.stack([plainly(*parts) for parts in zip(inputs, several, weights, biases, strict=True)])
    torch.testing.assert_close(actual, alone, rtol=1e-10, atol=1e-10)
    for one, other in zip(
        torch.autograd.grad(actual.sin().sum(), [weights, biases]),
        torch.autograd.grad(alone.sin().sum(), [weights, biases]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_windows_that_do_not_matter_may_be_summed_or_not() -> None:
    generator = torch.Generator().manual_seed(7)
    frames = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    starts = torch.randint(38, (5, 8), generator=generator)
    factors = F.relu(torch.randn(5, 8, generator=generator, dtype=torch.float64))
    every, some = (sums(frames, starts, factors, WINDOW) for sums in (_sums, _sums_of_some))
    torch.testing.assert_close(some, every, rtol=1e-12, atol=1e-12)
    assert (factors == 0).any()
