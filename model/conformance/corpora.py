"""Small made-up corpora on which a system shows in seconds whether it works."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from ifmmin.data.corpus import Corpus, Fold, Sequences
from ifmmin.data.modalities import AVT, Modality, letters_of


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


def with_other_inputs(corpus: Corpus, letter: str, rows: Sequence[int]) -> Corpus:
    """A corpus whose features of a modality are other ones for these utterances."""
    parts = corpus.sequences[letter]
    values = parts.values.copy()
    for row in rows:
        values[slice(*parts.offsets[row : row + 2])] += 50
    return replace(corpus, sequences={**corpus.sequences, letter: Sequences(values, parts.offsets)})


def with_uneven_sets(corpus: Corpus, dtype: type) -> Corpus:
    """A corpus whose folds have training and validation sets of different sizes, in another precision."""
    count = len(corpus)
    order = np.random.default_rng(3).permutation(count)
    cuts = {1: (40, 60), 2: (35, 64), 3: (48, 60)}
    folds = {fold: Fold(*np.split(order, [count * cut // 80 for cut in at])) for fold, at in cuts.items()}
    sequences = {m: Sequences(parts.values.astype(dtype), parts.offsets) for m, parts in corpus.sequences.items()}
    return replace(corpus, folds=folds, sequences=sequences)
