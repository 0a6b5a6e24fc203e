"""Small made-up corpora and batches for tests."""

import torch

from ifmmin.data.batches import Batch
from ifmmin.data.conditions import all_conditions
from ifmmin.data.modalities import AVT, Modality, letters_of
from ifmmin.model.conformance.corpora import make_corpus as make_corpus
from ifmmin.model.conformance.corpora import with_gaps as with_gaps

IF_MMIN = {"name": "demo", "systems": ["if-mmin"]}
"""A configuration of one system, all folds and one seed."""

LETTERS = letters_of(AVT)
ALL_CONDITIONS = all_conditions(LETTERS)
*MISSING, FULL_CONDITION = ALL_CONDITIONS
MISSING_CONDITIONS = tuple(MISSING)
DIMENSIONS: dict[str, int] = {"a": 3, "v": 4, "t": 5}
PHYSIOLOGICAL = Modality("p", "physiological", "linear", standardised=True)
ONE = (Modality("x", "recordings", "lstm", standardised=True),)
TWO = (Modality("t", "textual", "textcnn"), PHYSIOLOGICAL)
FOUR = (Modality("b", "body", "lstm"), *AVT[1:], PHYSIOLOGICAL)


def random_batch(size: int = 7, dtype: torch.dtype = torch.float32, seed: int = 0) -> Batch:
    """A zero-padded batch with lengths from 1 to 11, so that some texts are shorter than the widest window."""
    generator = torch.Generator().manual_seed(seed)
    features: dict[str, torch.Tensor] = {}
    lengths: dict[str, torch.Tensor] = {}
    for modality, dimension in DIMENSIONS.items():
        steps = torch.randint(1, 12, (size,), generator=generator)
        x = torch.randn(size, int(steps.max()), dimension, generator=generator, dtype=dtype)
        x[torch.arange(x.shape[1]) >= steps[:, None]] = 0
        features[modality], lengths[modality] = x, steps
    labels = torch.randint(3, (size,), generator=generator)
    return Batch(features, lengths, labels, torch.arange(size))
