"""A system of two stages: an expert on each modality, and a network that weighs what they say."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ifmmin.model.definition import System
from ifmmin.model.plain import stage_of


class Expert(nn.Module):
    """Two layers on the mean features of one modality; the others are missing whenever it is trained."""

    training_defaults: ClassVar = {"epochs": 30, "learning_rate": 1e-3}

    def __init__(self, dimensions: dict[str, int], classes: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(sum(dimensions.values()), width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, features: dict[str, Tensor], lengths: dict[str, Tensor], available: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        means = [steps.sum(1) / lengths[letter][:, None] for letter, steps in features.items()]
        return self.layers(torch.cat(means, 1) * available.any(1, keepdim=True))


class Mixture(nn.Module):
    """Weighs the logits of the experts on what is available.

    Args:
        width: units of an expert's hidden layer
    """

    training_defaults: ClassVar = {"learning_rate": 1e-2}

    def __init__(self, dimensions: dict[str, int], classes: int, width: int = 32) -> None:
        super().__init__()
        self.experts = nn.ModuleDict({letter: Expert(dimensions, classes, width) for letter in dimensions})
        self.experts.requires_grad_(False)
        self.weights = nn.Parameter(torch.zeros(len(dimensions)))

    def start_from(self, upstream: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over the experts: `expert-a` is the one that was trained on `a` alone."""
        for letter, expert in self.experts.items():
            expert.load_state_dict(upstream[f"expert-{letter}"])

    def forward(self, features: dict[str, Tensor], lengths: dict[str, Tensor], available: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        alone = [
            {other: x if other == letter else torch.zeros_like(x) for other, x in features.items()}
            for letter in features
        ]
        logits = torch.stack([self.experts[m](x, lengths, available) for m, x in zip(features, alone, strict=True)], 1)
        shares = self.weights.masked_fill(~available, -torch.inf).softmax(1)
        return (shares[:, :, None] * logits).sum(1)


SYSTEM = System(
    name="my-experts",
    summary="Experts on one modality each, and their mixture",
    stages={
        "expert": stage_of(Expert, "my-expert", conditions="single"),
        "train": stage_of(Mixture, "my-mixture", after=("expert",)),
    },
)
