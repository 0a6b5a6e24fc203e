from collections.abc import Iterator

import pytest
import torch

from ifmmin.data.corpus import Corpus
from tests.small import make_corpus


@pytest.fixture
def corpus() -> Corpus:
    return make_corpus()


@pytest.fixture
def double() -> Iterator[None]:
    """Networks in float64, where rounding explains no difference."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
