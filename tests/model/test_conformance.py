"""The checks of systems catch what is planted, in a sentence that says what to do."""

import inspect
import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.data.batches import Batch
from ifmmin.data.errors import UserError
from ifmmin.model.conformance import checks
from ifmmin.model.conformance.checks import CHECKS, Subject, findings_of
from ifmmin.model.definition import Losses, Network, Objective, Shape, System
from ifmmin.model.draws import Generator
from ifmmin.model.plain import system_of
from tests.model.newcomers import Classification, MeanNetwork, define, means
from tests.model.newcomers import system_of as system_from


class Sound(nn.Module):
    """Means over time."""

    def __init__(self, dimensions: dict[str, int], classes: int, width: int = 16) -> None:
        super().__init__()
        self.hidden = nn.Linear(sum(dimensions.values()), width)
        self.output = nn.Linear(width, classes)
        self.register_buffer("seen", torch.zeros(()))

    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        return torch.cat([x.sum(1) / lengths[m][:, None] for m, x in features.items()], 1)

    def forward(self, features: dict[str, Tensor], lengths: dict[str, Tensor], available: Tensor) -> Tensor:  # noqa: ARG002
        logits: Tensor = self.output(self.hidden(self.means(features, lengths)).relu())
        return logits


class Padding(Sound):
    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:  # noqa: ARG002
        return torch.cat([x.mean(1) for x in features.values()], 1)


class Counting(Sound):
    """Changes a buffer in evaluation."""

    seen: Tensor

    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        self.seen += 1
        return super().means(features, lengths)


class Remembering(Sound):
    """Keeps something of a call for the next."""

    last = 0.0

    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        mixed = super().means(features, lengths)
        self.last, before = float(mixed.detach().mean()), self.last
        return mixed + before


class Dropping(Sound):
    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        return F.dropout(super().means(features, lengths), 0.5)


class OfNumPy(Sound):
    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        return super().means(features, lengths) + (0.1 * np.random.rand() if self.training else 0)  # noqa: NPY002


class OfPython(Sound):
    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        return super().means(features, lengths) + (0.1 * random.random() if self.training else 0)


class Misshapen(Sound):
    def forward(self, *inputs: Any) -> Tensor:
        return super().forward(*inputs)[None]


Misshapen.forward.__signature__ = inspect.signature(Sound.forward)  # type: ignore[attr-defined]


class Listing(Sound):
    """Holds a layer in a list."""

    def __init__(self, dimensions: dict[str, int], classes: int) -> None:
        super().__init__(dimensions, classes)
        self.layers = [nn.Linear(16, classes)]
        self.output = self.layers[0]
        del self._modules["output"]
        self.__dict__["output"] = self.layers[0]


class Deaf(Sound):
    """Does not read `v`."""

    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        return super().means({m: x * (m != "v") for m, x in features.items()}, lengths)


class Mates(Sound):
    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        mixed = super().means(features, lengths)
        return mixed - mixed.mean(0)


class Nothing(Sound):
    """Divides by 0 where little is available."""

    def forward(self, features: dict[str, Tensor], lengths: dict[str, Tensor], available: Tensor) -> Tensor:
        return super().forward(features, lengths, available) / (available.sum(1, keepdim=True) - 1)


class Frozen(Sound):
    def means(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        return super().means(features, lengths) * 1e-6


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Padding, r"must not count; divide sums by lengths"),
        (Counting, r"Predicting changes seen, .*if self.training"),
        (Remembering, r"Predicting twice gives different probabilities"),
        (Dropping, r"Dropping draws random numbers in evaluation.* training=self.training"),
        (OfNumPy, r"draws from NumPy's global random state \(numpy.random\).*draw with PyTorch"),
        (OfPython, r"draws from Python's global random state"),
        (Misshapen, r"forward of Misshapen returns logits of shape \(1, 16, 3\); .* here \(16, 3\)"),
        (Listing, r"a part of it is not saved; hold layers in .*nn.ModuleList"),
        (Deaf, r"No prediction depends on v"),
        (Mates, r"depends on the other utterances of its batch"),
        (Nothing, r"The loss of epoch 1 is nan; look for a division by 0"),
    ],
)
def test_a_fault_of_a_plain_module_is_found(module: type[nn.Module], message: str) -> None:
    assert_found(system_of(module), message)


@pytest.mark.slow  # it trains for 30 epochs
def test_what_does_not_learn_is_found() -> None:
    with pytest.raises(UserError, match=r"After 30 epochs .*\(chance is 33 %\); look at its loss"):
        checks.check_learning(Subject.of(system_of(Frozen)))


def assert_found(system: System, message: str) -> None:
    """The first finding that is not in order says this."""
    problems = (finding.problem for finding in findings_of(Subject.of(system)) if finding.problem)
    problem = next(problems, None)
    assert problem is not None
    assert re.search(message, problem), problem


class Reading(MeanNetwork):
    """Reads what is missing."""

    def logits(self, batch: Batch, conditions: Any) -> Tensor:
        inputs = means(batch, [conditions[-1]]).expand(len(conditions), -1, -1)
        logits: Tensor = self.output(self.body(inputs))
        return logits


class Cheating(MeanNetwork):
    """Reads labels."""

    def logits(self, batch: Batch, conditions: Any) -> Tensor:
        return super().logits(batch, conditions) + F.one_hot(batch.labels, 3)


class Outside(Objective):
    """Has a parameter outside the network."""

    def __init__(self, network: Network, *others: Any) -> None:
        super().__init__(network, *others)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        losses: Losses = Classification.forward(self, batch, generator)  # type: ignore[arg-type]
        return losses


class Drawing(Classification):
    """Draws from the global state."""

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        losses = super().forward(batch, generator)
        return Losses(losses.total * (1 + 0.1 * torch.rand(())), losses.terms)


def network(cls: type[MeanNetwork] = MeanNetwork) -> Any:
    def make(shape: Shape, _: Any) -> MeanNetwork:
        return cls(shape)

    return make


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (
            system_from(define("reading", network(Reading), losses={"error": "error"})),
            r"Under condition v the prediction depends on a, which is missing; multiply .* available\[:, 0\]",
        ),
        (
            system_from(define("cheating", network(Cheating), losses={"error": "error"})),
            "logits must not read batch.labels",
        ),
        (
            system_from(define("outside", network(), objective=Outside, losses={"error": "error"})),
            "weight of Outside would not be trained",
        ),
        (
            system_from(define("drawing", network(), objective=Drawing, losses={"error": "error"})),
            "draws from PyTorch's global random state",
        ),
        (system_from(define("untitled", network())), "has the loss terms error, and titles of none"),
    ],
    ids=lambda value: value.name if isinstance(value, System) else "",
)
def test_a_fault_of_a_system_is_found(system: System, message: str) -> None:
    assert_found(system, message)


def test_a_sound_module_passes_all_but_the_long_checks() -> None:
    subject = Subject.of(system_of(Sound))
    for check in CHECKS[:-1]:
        check.run(subject)
