import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmmin.model.losses import central_moment_discrepancy, pairwise_discrepancy


def numpy_cmd(x: np.ndarray, y: np.ndarray, moment_order: int) -> float:
    """The definition, written down a second time."""
    total = np.sqrt(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum())
    for k in range(2, moment_order + 1):
        c_x = np.mean((x - x.mean(axis=0)) ** k, axis=0)
        c_y = np.mean((y - y.mean(axis=0)) ** k, axis=0)
        total += np.sqrt(((c_x - c_y) ** 2).sum())
    return float(total)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 7), st.integers(1, 20), st.integers(1, 20), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_cmd_equals_the_formula_in_numpy(moment_order: int, m: int, n: int, features: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(m, features)), rng.normal(1, 2, size=(n, features))
    ours = central_moment_discrepancy(torch.from_numpy(x), torch.from_numpy(y), moment_order)
    assert float(ours) == pytest.approx(numpy_cmd(x, y, moment_order), rel=1e-10)


def test_cmd_by_hand() -> None:
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    assert float(central_moment_discrepancy(x, y, 1)) == 2.0  # means 1 and 3
    assert float(central_moment_discrepancy(x, y, 2)) == 5.0  # and variances 1 and 4
    assert float(central_moment_discrepancy(x, y, 4)) == 20.0  # and fourth moments 1 and 16; the third are 0


@pytest.mark.parametrize("moment_order", range(1, 8))
def test_gradients_pass_gradcheck(moment_order: int) -> None:
    torch.manual_seed(0)
    x, y = (torch.randn(6, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: central_moment_discrepancy(a, b, moment_order), (x, y))


def test_gradients_are_finite_for_equal_inputs() -> None:
    x = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    x[:, 1], x[:, 2] = x[:, 0], x[:, 0]
    x.requires_grad_()
    loss = pairwise_discrepancy(x, 5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
