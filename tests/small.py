"""Small made-up corpora and batches for tests."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch

from ifmmin.data.batches import Batch
from ifmmin.data.conditions import all_conditions
from ifmmin.data.corpus import Corpus, Fold, Sequences
from ifmmin.data.modalities import AVT, Modality, letters_of

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


def make_corpus(
    utterances: int = 48, classes: int = 3, seed: int = 0, modalities: tuple[Modality, ...] = AVT
) -> Corpus:
    """Ragged sequences whose mean over time tells the class in every modality; some texts are shorter than a window."""
    rng = np.random.default_rng(seed)
    labels = np.arange(utterances) % classes
    dimensions = {modality.letter: 3 + index for index, modality in enumerate(modalities)}
    directions = {m: rng.normal(size=(classes, d)) for m, d in dimensions.items()}
    sequences: dict[str, Sequences] = {}
    for modality in modalities:
        letter, most = modality.letter, 2 if modality.encoder == "linear" else 12
        parts = [
            directions[letter][label] + 0.3 * rng.normal(size=(int(rng.integers(1, most)), dimensions[letter]))
            for label in labels
        ]
        sequences[letter] = Sequences.of([part.astype(np.float32) for part in parts])
    thirds = np.array_split(np.arange(utterances, dtype=np.int64), 3)
    table = pa.table({"utterance": [f"u{i:03}" for i in range(utterances)], "label": labels.astype(np.int64)})
    folds = {n + 1: Fold(thirds[n], thirds[(n + 1) % 3], thirds[(n + 2) % 3]) for n in range(3)}
    names = tuple(f"class {c}" for c in range(classes))
    letters = "".join(letters_of(modalities))
    return Corpus("small", names, table, sequences, folds, modalities, fingerprint=f"made in a test of {letters}")


def with_gaps(corpus: Corpus, rate: float = 0.3, seed: int = 0) -> Corpus:
    """A corpus from which modalities are removed at this rate, in every set; each utterance keeps one at least."""
    rng = np.random.default_rng(seed)
    present = rng.random((len(corpus), len(corpus.letters))) >= rate
    present[np.arange(len(corpus)), rng.integers(len(corpus.letters), size=len(corpus))] = True
    sequences = {m: corpus.sequences[m].keep(present[:, index]) for index, m in enumerate(corpus.letters)}
    return replace(corpus, sequences=sequences, fingerprint=f"{corpus.fingerprint} with gaps")


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
