"""Classes from labels: presets with the rules of the literature, and merging or dropping labels by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import CorpusError, nearest
from ifmmin.data.layouts.leave_out import without
from ifmmin.data.layouts.naming import normalise

_ANGRY = ("ang", "anger", "angry", "a")
_HAPPY = ("hap", "happy", "happiness", "h")
_EXCITED = ("exc", "excited", "excitement")
_NEUTRAL = ("neu", "neutral", "neutral state", "n")
_SAD = ("sad", "sadness", "s")


@dataclass(frozen=True)
class Preset:
    """The classes that the literature on a corpus uses; utterances with other labels are left out.

    Attributes:
        corpus: on which they are used.
        classes: for each class the labels that count as it, in any case.
        utterances: how many the whole corpus has; None where that is not known for sure.
        remark: what is special about them.
    """

    corpus: str
    classes: Mapping[str, tuple[str, ...]]
    utterances: int | None
    remark: str


PRESETS = {
    "iemocap-4": Preset(
        "IEMOCAP",
        {"angry": _ANGRY, "happy": (*_HAPPY, *_EXCITED), "neutral": _NEUTRAL, "sad": _SAD},
        5531,
        "excited counts as happy",
    ),
    "iemocap-6": Preset(
        "IEMOCAP",
        {
            "angry": _ANGRY,
            "excited": _EXCITED,
            "frustrated": ("fru", "frustrated", "frustration"),
            "happy": _HAPPY,
            "neutral": _NEUTRAL,
            "sad": _SAD,
        },
        7380,
        "excited and happy are two classes; the 7,433 of some publications cannot be derived from the labels",
    ),
    "msp-4": Preset(
        "MSP-IMPROV",
        {"angry": _ANGRY, "happy": _HAPPY, "neutral": _NEUTRAL, "sad": _SAD},
        None,
        "the labels A, H, N and S; O (other) and X (no agreement) are left out",
    ),
    "meld-7": Preset(
        "MELD",
        {
            "anger": _ANGRY,
            "disgust": ("disgust", "dis", "disgusted"),
            "fear": ("fear", "fea", "fearful"),
            "joy": ("joy", *_HAPPY),
            "neutral": _NEUTRAL,
            "sadness": _SAD,
            "surprise": ("surprise", "sur", "surprised"),
        },
        13708,
        "all utterances",
    ),
}
"""Choices of classes by name, for `--classes`."""


def choose_classes(
    corpus: Corpus, preset: str | None, merge: Mapping[str, str], drop: Sequence[str]
) -> tuple[Corpus, list[Finding]]:
    """The corpus with some of its classes merged and some left out, both counted.

    Args:
        corpus: its classes are the labels.
        preset: a name in `PRESETS`, whose rule is applied first.
        merge: by label, or by class of the preset, the class that it counts as.
        drop: labels, or classes of the preset, whose utterances are left out.

    Raises:
        CorpusError: a name is unknown, no label is one of the preset's, or no utterance remains.
    """
    counts = np.bincount(corpus.labels, minlength=len(corpus.classes))
    class_of: dict[str, str | None] = {label: label for label in corpus.classes}
    order: Sequence[str] = corpus.classes
    if preset is not None:
        class_of, order = _apply_preset(preset, corpus.classes), tuple(PRESETS[preset].classes)
    if not (preset or merge or drop):
        return corpus, []
    _check(order, merge, drop)
    place = {name: None if name in drop else merge.get(name, name) for name in order}
    class_of = {label: None if name is None else place[name] for label, name in class_of.items()}
    classes = tuple(dict.fromkeys(name for name in place.values() if name is not None))
    numbers = np.array([-1 if name is None else classes.index(name) for name in class_of.values()], dtype=np.int64)
    labels = numbers[corpus.labels]
    if not classes or (labels < 0).all():
        raise CorpusError(f"Corpus '{corpus.name}' would have no utterance left; choose other classes.")
    text = _counted(class_of, classes, dict(zip(corpus.classes, counts.tolist(), strict=True)))
    where = corpus.utterances.column_names.index("label")
    chosen = replace(
        corpus,
        classes=classes,
        utterances=corpus.utterances.set_column(where, "label", [np.maximum(labels, 0)]),
        about=f"{corpus.about}. Classes{f' {preset}' if preset else ''}: {text}",
    )
    rows = labels < 0
    return without(chosen, rows, "The choice of classes") if rows.any() else chosen, [Finding("note", "classes", text)]


def rule(preset: Preset) -> str:
    """Which labels a preset's classes are made of, as the labels are usually written."""
    return "; ".join(f"{name}: {', '.join(labels)}" for name, labels in preset.classes.items())


def _apply_preset(name: str, labels: Sequence[str]) -> dict[str, str | None]:
    classes = {label: known for known, spellings in PRESETS[name].classes.items() for label in spellings}
    class_of = {label: classes.get(normalise(label).casefold()) for label in labels}
    if not any(class_of.values()):
        raise CorpusError(
            f"--classes {name}: none of the labels {', '.join(labels)} is one of {', '.join(classes)}; name the "
            "labels, or use --merge and --drop."
        )
    return class_of


def _check(known: Sequence[str], merge: Mapping[str, str], drop: Sequence[str]) -> None:
    for option, names in (("--merge", list(merge)), ("--drop", list(drop))):
        for name in names:
            if name not in known:
                raise CorpusError(f"{option} {name}: there is no such class; {nearest(name, known)}")
    for name, target in merge.items():
        if name in drop:
            raise CorpusError(f"--drop {name}: --merge counts it as {target}; choose one of the two.")
        if target in drop or merge.get(target, target) != target:
            raise CorpusError(f"--merge {name}={target}: {target} is itself merged or dropped; name the final class.")


def _counted(class_of: Mapping[str, str | None], classes: Sequence[str], counts: Mapping[str, int]) -> str:
    """How many utterances of which label each class consists of, and how many are left out."""
    parts = []
    for name in classes:
        labels = [label for label, chosen in class_of.items() if chosen == name]
        total = sum(counts[label] for label in labels)
        made_of = " + ".join(f"{label} {counts[label]:,}" for label in labels)
        parts.append(f"{name} {total:,}" + (f" ({made_of})" if labels != [name] and labels else ""))
    out = [label for label, chosen in class_of.items() if chosen is None]
    left_out = ", ".join(f"{label} {counts[label]:,}" for label in out) or "none"
    return f"{', '.join(parts)}; left out: {left_out}"
