"""Predictions of a trained network for utterances in each condition."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ifmmin.data.batches import Examples, Inputs
from ifmmin.data.conditions import Condition
from ifmmin.model.definition import Network

EVALUATION_BATCH = 256

EVALUATION_VERSION = 2
"""Raised by hand whenever a change of the code changes its results."""


@torch.no_grad()
def predict(network: Network, utterances: Examples | Inputs, conditions: Sequence[Condition]) -> Tensor:
    """Class probabilities of utterances, float32 (conditions, utterances, classes)."""
    logits = [network.logits(batch, conditions) for batch in utterances.batches(EVALUATION_BATCH)]
    return torch.cat(logits, 1).float().softmax(-1)
