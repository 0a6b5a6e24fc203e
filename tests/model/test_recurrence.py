"""The LSTM of several runs against PyTorch's, run by run."""

import pytest
import torch
from torch import Tensor, nn

from ifmmin.model.recurrence import run_lstm, scan


def test_the_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    gates = torch.randn(2, 4, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(12, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scan, (gates, weight))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_each_run_has_the_outputs_states_and_gradients_of_its_own_lstm(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(2)
    lstms = [nn.LSTM(5, 4, batch_first=True, dtype=dtype) for _ in range(3)]
    weights, _ = torch.func.stack_module_state(lstms)
    x = torch.randn(3, 6, 7, 5, dtype=dtype, requires_grad=True)

    def one(of_run: dict[str, Tensor], sequences: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        reads = Reads(lstms[0])
        weights = {f"lstm.{name}": value for name, value in of_run.items()}
        result: tuple[Tensor, tuple[Tensor, Tensor]] = torch.func.functional_call(reads, weights, (sequences,))
        return result

    outputs, (hidden, memory) = torch.vmap(one)(weights, x)
    (outputs.sin().sum() + hidden.sum() + memory.cos().sum()).backward()  # type: ignore[no-untyped-call]
    gradient = x.grad
    x.grad = None
    for run, lstm in enumerate(lstms):
        expected, (last, cell) = lstm(x[run])
        (expected.sin().sum() + last.sum() + cell.cos().sum()).backward()
        for actual, right in ((outputs, expected), (hidden, last), (memory, cell)):
            torch.testing.assert_close(actual[run], right, rtol=tolerance, atol=tolerance)
        for name, parameter in lstm.named_parameters():
            gradients = weights[name].grad
            torch.testing.assert_close(gradients[run], parameter.grad, rtol=tolerance, atol=10 * tolerance)
    torch.testing.assert_close(gradient, x.grad, rtol=tolerance, atol=tolerance)


class Reads(nn.Module):
    """An LSTM as a network's part, as `functional_call` needs it."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return run_lstm(self.lstm, x)
