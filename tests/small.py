"""Small made-up corpora and batches for tests."""

import numpy as np
import pyarrow as pa
import torch

from ifmmin.data.batches import Batch
from ifmmin.data.conditions import Modality
from ifmmin.data.corpus import Corpus, Fold, Sequences

IF_MMIN = {"name": "demo", "systems": ["if-mmin"]}
"""A configuration of one system, all folds and one seed."""

DIMENSIONS: dict[Modality, int] = {"a": 3, "v": 4, "t": 5}


def make_corpus(utterances: int = 48, classes: int = 3, seed: int = 0) -> Corpus:
    """Ragged sequences whose mean over time tells the class in every modality; some texts are shorter than a window."""
    rng = np.random.default_rng(seed)
    labels = np.arange(utterances) % classes
    directions = {m: rng.normal(size=(classes, d)) for m, d in DIMENSIONS.items()}
    sequences: dict[Modality, Sequences] = {}
    for modality, dimension in DIMENSIONS.items():
        parts = [
            (directions[modality][label] + 0.3 * rng.normal(size=(int(rng.integers(1, 12)), dimension)))
            for label in labels
        ]
        sequences[modality] = Sequences.of([part.astype(np.float32) for part in parts])
    thirds = np.array_split(np.arange(utterances, dtype=np.int64), 3)
    table = pa.table({"utterance": [f"u{i:03}" for i in range(utterances)], "label": labels.astype(np.int64)})
    folds = {n + 1: Fold(thirds[n], thirds[(n + 1) % 3], thirds[(n + 2) % 3]) for n in range(3)}
    names = tuple(f"class {c}" for c in range(classes))
    return Corpus("small", names, table, sequences, folds, ("a",), fingerprint="made in a test")


def random_batch(size: int = 7, dtype: torch.dtype = torch.float32, seed: int = 0) -> Batch:
    """A zero-padded batch with lengths from 1 to 11, so that some texts are shorter than the widest window."""
    generator = torch.Generator().manual_seed(seed)
    features: dict[Modality, torch.Tensor] = {}
    lengths: dict[Modality, torch.Tensor] = {}
    for modality, dimension in DIMENSIONS.items():
        steps = torch.randint(1, 12, (size,), generator=generator)
        x = torch.randn(size, int(steps.max()), dimension, generator=generator, dtype=dtype)
        x[torch.arange(x.shape[1]) >= steps[:, None]] = 0
        features[modality], lengths[modality] = x, steps
    labels = torch.randint(3, (size,), generator=generator)
    return Batch(features, lengths, labels, torch.arange(size))
