import pytest

from ifmmin.data.corpus import Corpus
from tests.small import make_corpus


@pytest.fixture
def corpus() -> Corpus:
    return make_corpus()
