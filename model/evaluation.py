"""Predictions of a trained network for utterances in each condition."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ifmmin.data.batches import Batch, Examples, Inputs
from ifmmin.data.conditions import Condition
from ifmmin.model.definition import Network

EVALUATION_BATCH = 256

EVALUATION_VERSION = 2
"""Raised by hand whenever a change of the code changes its results."""


@torch.no_grad()
def predict(network: Network, utterances: Examples | Inputs, conditions: Sequence[Condition]) -> Tensor:
    """Class probabilities of utterances, float32 (conditions, utterances, classes)."""
    return predict_batches(utterances.batches(EVALUATION_BATCH), lambda batch: network.logits(batch, conditions))


@torch.no_grad()
def predict_batches(batches: Iterable[Batch], logits: Callable[[Batch], Tensor]) -> Tensor:
    """Class probabilities of the utterances of all batches in the order of their rows.

    Args:
        logits: of a batch, (conditions, batch, classes).
    """
    parts = [(logits(batch), batch.rows) for batch in batches]
    rows, of_all = torch.cat([rows for _, rows in parts]), torch.cat([of_batch for of_batch, _ in parts], 1)
    ordered = of_all[:, rows.argsort()] if of_all.shape[1] == len(rows) else of_all  # to be refused, see model.checks
    return ordered.float().softmax(-1)
