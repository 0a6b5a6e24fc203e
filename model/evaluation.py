"""What a trained network predicts for a set of utterances in each condition."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import Condition
from ifmmin.model.definition import Network

EVALUATION_BATCH = 256

EVALUATION_VERSION = 2
"""Raised by hand whenever a change of the code changes what comes out."""


@torch.no_grad()
def predict(network: Network, examples: Examples, conditions: Sequence[Condition]) -> Tensor:
    """Class probabilities, float32 (conditions, utterances, classes), for all utterances of a set."""
    logits = [network.logits(batch, conditions) for batch in examples.batches(EVALUATION_BATCH)]
    return torch.cat(logits, 1).float().softmax(-1)
