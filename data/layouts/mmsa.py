"""The pickle layout of the MMSA toolkit, in which MOSI, MOSEI and CH-SIMS are shared.

    {"train": SET, "valid": SET, "test": SET}, and in each SET, of N utterances
    audio, vision, text                 (N, time, features), zero-padded; or N arrays (time, features)
    audio_lengths, vision_lengths       time steps of each (optional)
    text_bert                           (N, 3, time), whose row 1 is 1 where the text has a word (optional)
    id                                  N names such as "video$_$clip", which do not repeat
    regression_labels                   (N,), sentiment: negative below zero, positive above

As in the toolkit, -inf in audio becomes 0. The pickles of MulT are read too; there, labels (N, 1, 1) are the sentiment.
The file may be compressed by gzip.

Reading a pickle can execute arbitrary code. This reader accepts only the
parts of NumPy arrays and containers, and refuses everything else before it is executed.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import SETS, Corpus, Fold, Sequences, SetName
from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.layouts import leave_out as leaving
from ifmmin.data.layouts.arrays import check_widths, concatenate
from ifmmin.data.layouts.mmsa_set import FEATURES, FeatureSet
from ifmmin.data.layouts.naming import check_names
from ifmmin.data.layouts.pickles import read_pickle
from ifmmin.data.modalities import AVT
from ifmmin.data.selection import Selection, select

SPLITS: dict[SetName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("valid", "dev", "val", "validation"),
    "test": ("test",),
}
"""The sets, and their names in this layout and in those of other toolkits."""
SIGNS = ("negative", "neutral", "positive")
VIDEO = re.compile(r"^(.+?)(?:\$_\$.*|\[\d+\])$", re.DOTALL)
"""Utterances that name their video: video$_$clip, or video[clip] as in the pickles of MulT."""


def import_mmsa(file: Path, name: str, *, edges: Sequence[float] = (), **options: Any) -> tuple[Corpus, list[Finding]]:
    """Read a corpus from the layout, and audit it. Nothing is written.

    The sets of the layout are fold 1, and a video counts as a speaker. A modality that no set has is one that the
    corpus does not have.

    Args:
        edges: between classes of sentiment, in ascending order; an edge belongs to the class above it. Without edges
            the classes are the signs.
        **options: those of `data.selection.Selection`; `classes` names the classes of sentiment, in ascending order.

    Raises:
        CorpusError: the file is damaged, does not follow the layout, or contains more than data.
    """
    if list(edges) != sorted(set(edges)) or not np.isfinite(edges).all():
        raise CorpusError(f"--edges {','.join(map(str, edges))} must be in ascending order, as in -0.1,0.1.")
    selection = Selection.of(options)
    findings: list[Finding] = []
    by_name = _read_sets(file, selection, findings)
    sets = list(by_name.values())
    _refuse_repeated(file, sets)
    _check_numbers(file, by_name, frozenset(selection.leave_out), findings)
    names = [utterance for part in sets for utterance in part.names]
    check_names(names, str(file))
    values = np.concatenate([part.labels for part in sets])
    labels = np.searchsorted(edges, values, side="right") if len(edges) else np.sign(values).astype(np.int64) + 1
    columns = {"utterance": names, "label": labels.astype(np.int64), "sentiment": values}
    corpus = Corpus(
        name=name,
        classes=_class_names(edges, selection),
        utterances=pa.table(columns | _speakers(names, findings)),
        sequences={letter: _read_sequences(file, sets, letter, findings) for letter in sets[0].letters},
        folds={1: _fold(by_name)},
        modalities=tuple(modality for modality in AVT if modality.letter in sets[0].letters),
        about=f"imported from the MMSA layout in {file.name}; classes are {_rule(edges)}",
    )
    return select(corpus, selection, findings)


def _read_sets(file: Path, selection: Selection, findings: list[Finding]) -> dict[SetName, FeatureSet]:
    content = _texts(read_pickle(file))
    if content is None:
        raise CorpusError(f"{file} must contain a dictionary with train, valid and test, as in the MMSA layout.")
    letters = _letters(content, findings)
    sets: dict[SetName, FeatureSet] = {}
    for name, keys in SPLITS.items():
        key = next((key for key in keys if key in content), keys[0])
        entry = _texts(content.get(key))
        if key not in content and name == "validation" and selection.validation_from_train is not None:
            continue
        if entry is None:
            raise CorpusError(f"{file} {_why_not(content, key)}.")
        content[key] = None  # its features are freed as they are read
        sets[name] = FeatureSet(file, key, entry, letters, findings)
    if any(part.sentiment_key == "labels" for part in sets.values()):
        findings.append(Finding("note", "layout", f"{file.name}: labels are read as sentiment, as in pickles of MulT"))
    return sets


def _letters(content: Mapping[str, Any], findings: list[Finding]) -> tuple[str, ...]:
    """The modalities that any set has; all, if there is none."""
    sets = [entry for value in content.values() if (entry := _texts(value)) is not None]
    letters = tuple(letter for letter, key in FEATURES.items() if any(entry.get(key) is not None for entry in sets))
    if letters:
        missing = [key for letter, key in FEATURES.items() if letter not in letters]
        message = "no set has '{}', so the corpus does not have that modality"
        findings += [Finding("warning", "modalities", message.format(key)) for key in missing]
    return letters or tuple(FEATURES)


def _texts(content: object) -> dict[str, Any] | None:
    """A dictionary whose keys are text; None if it is anything else."""
    if not isinstance(content, dict):
        return None
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in content.items()}


def _why_not(content: Mapping[str, Any], key: str) -> str:
    """What is wrong with a pickle whose entry for a set is not a dictionary."""
    entry = content.get(key)
    if isinstance(entry, (list, tuple)):
        return (
            f"has a list for '{key}', as the pickles of MISA and MAG-BERT: ((words, visual, acoustic), label, segment) "
            "for each utterance, in which the text is words and not features; use a pickle of the MMSA layout instead"
        )
    if entry is None and set(FEATURES.values()) <= set(content):
        return (
            "has the features of a single set, or each modality apart; the MMSA layout is a dictionary with train, "
            "valid and test, each of which holds audio, vision and text"
        )
    return (
        f"lacks the dictionary '{key}' of the MMSA layout, and has {listed(list(content)) or 'nothing'}; export it "
        "again"
    )


def _refuse_repeated(file: Path, sets: Sequence[FeatureSet]) -> None:
    counts = Counter(name for part in sets for name in part.names)
    if repeated := [name for name, count in counts.items() if count > 1]:
        within = any(len(set(part.names)) < len(part.names) for part in sets)
        where = "within a set" if within else "in several sets"
        raise CorpusError(
            f"{file}: {len(repeated):,} ids appear more than once, {where}: {listed(repeated)}; every utterance must "
            "have an id of its own and be in one set."
        )


def _check_numbers(
    file: Path, by_name: Mapping[SetName, FeatureSet], words: frozenset[str], findings: list[Finding]
) -> None:
    """Refuse or leave out utterances whose sentiment or lengths are not finite numbers."""
    sets = by_name.values()
    rows = np.concatenate([part.unusable for part in sets])
    if not rows.any():
        return
    names = [name for part in sets for name in part.names]
    if "broken" not in words:
        problem = next(part.problem for part in sets if part.problem)
        wrong = listed([name for name, unusable in zip(names, rows, strict=True) if unusable])
        raise CorpusError(
            f"{file}: {rows.sum():,} of {len(names):,} utterances have a sentiment or a length that is not a finite "
            f"number ({wrong}); correct {problem}, or use --leave-out broken."
        )
    why = "have a sentiment or a length that is not a finite number"
    findings.append(leaving.left_out(names, [_fold(by_name)], rows, why))
    for part in sets:
        part.keep(~part.unusable)


def _fold(by_name: Mapping[SetName, FeatureSet]) -> Fold:
    ends = np.cumsum([0, *(len(by_name[name].names) if name in by_name else 0 for name in SETS)])
    return Fold(*(np.arange(*pair, dtype=np.int64) for pair in pairwise(ends)))


def _speakers(names: Sequence[str], findings: list[Finding]) -> dict[str, list[str]]:
    """The column speaker, unless an id does not name its video."""
    matches = [VIDEO.match(name) for name in names]
    if all(matches):
        return {"speaker": [match[1] for match in matches if match]}
    other = names[matches.index(None)]
    message = f"ids such as '{other}' do not name their video as in 'video$_$clip', so speakers are unknown"
    findings.append(Finding("note", "ids", message))
    return {}


def _read_sequences(file: Path, sets: Sequence[FeatureSet], modality: str, findings: list[Finding]) -> Sequences:
    parts = [features for part in sets for features in part.take(modality)]
    names = [name for part in sets for name in part.names]
    check_widths(f"{file}: {FEATURES[modality]}", names, [part.shape[1] for part in parts])
    if modality == "a" and (count := sum(int(np.isneginf(part).sum()) for part in parts)):
        message = f"{count:,} values of audio were -inf and are 0 now, as in the MMSA toolkit"
        findings.append(Finding("note", "-inf", message))
        finite = (np.where(np.isneginf(part), 0, part) for part in parts)
        return concatenate(finite, list(map(len, parts)), parts[0].shape[1])
    return concatenate(parts, list(map(len, parts)), parts[0].shape[1])


def _class_names(edges: Sequence[float], selection: Selection) -> tuple[str, ...]:
    names: tuple[str, ...] = SIGNS
    if edges:
        between = (f"{low:g} to {high:g}" for low, high in pairwise(edges))
        names = (f"below {edges[0]:g}", *between, f"{edges[-1]:g} and above")
    chosen = selection.classes_for(())
    if chosen is not None and len(chosen) != len(names):
        raise CorpusError(f"--classes has {len(chosen)} names, but there are {len(names)} classes: {', '.join(names)}.")
    return names if chosen is None else tuple(chosen)


def _rule(edges: Sequence[float]) -> str:
    if not edges:
        return "the sign of the sentiment: below zero, zero, above zero"
    return f"split by sentiment at {', '.join(f'{edge:g}' for edge in edges)}, an edge belonging to the class above"
