"""What every importer does with the utterances of a layout: it chooses classes, leaves some out and makes folds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from ifmmin.data.audit import Finding, audit, by_severity
from ifmmin.data.classes import PRESETS, choose_classes
from ifmmin.data.corpus import Corpus, Fold
from ifmmin.data.errors import CorpusError, nearest
from ifmmin.data.layouts.fold_files import check_validation, read_folds
from ifmmin.data.layouts.known_names import add_columns
from ifmmin.data.layouts.leave_out import check_leave_out, leave_out
from ifmmin.data.layouts.naming import normalise
from ifmmin.data.paths import expand
from ifmmin.data.splits import split, take_validation


@dataclass(frozen=True)
class Selection:
    """The options that all importers share.

    Attributes:
        classes: names of the classes in label order, or `iemocap-4`, `iemocap-6`, `msp-4` or `meld-7`: the classes of
            the literature, made from the labels by a rule.
        merge: by class, the one that it counts as, or text such as `exc=hap,fru=ang`.
        drop: classes whose utterances are left out, or text such as `xxx,oth`.
        split_by: make folds by a column whose values no two sets share (`speaker`, `session`), by `stratified:K`
            (equal shares of the classes), `sessions-N` (each session is tested once) or `speakers-N` (each speaker is
            tested once, and the others of the session validate).
        folds_from: a file or a folder with the folds: a table, JSON, NumPy files.
        validation_from_train: the part of each training set that becomes the validation set, such as 0.1; speakers
            are not divided.
        seed: of the folds that are made.
        leave_out: `broken` (NaN or infinite features), `empty` (lacks every modality), `incomplete` (lacks one).
        speaker_pattern: regular expression whose groups, joined, are the speaker of an utterance's name.
        dialogue_pattern: regular expression whose first group is the dialogue, and its second the number of the turn.

    Raises:
        CorpusError: an option is not valid.
    """

    classes: str | Sequence[str] | None = None
    merge: str | Mapping[str, str] = ""
    drop: str | Sequence[str] = ""
    split_by: str | None = None
    folds_from: str | Path | None = None
    validation_from_train: float | None = None
    seed: int = 0
    leave_out: str | Iterable[str] = ()
    speaker_pattern: str | None = None
    dialogue_pattern: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "leave_out", check_leave_out(self.leave_out))
        if self.split_by and self.folds_from:
            raise CorpusError("--split-by and --folds-from both make the folds; choose one of them.")
        names = self._class_names
        if names is not None and len(names) == 1 and names[0] not in PRESETS:
            raise CorpusError(
                f"--classes {names[0]}: name at least two classes, or a choice of them; {nearest(names[0], PRESETS)}"
            )

    @classmethod
    def of(cls, options: Mapping[str, object]) -> "Selection":
        """The selection by the options of a call.

        Raises:
            CorpusError: an option is unknown or not valid.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise CorpusError(f"There is no option {name} of an import; {nearest(name, known)}")
        return cls(**options)  # type: ignore[arg-type]

    @property
    def preset(self) -> str | None:
        """The name in `PRESETS`, if that is what `classes` is."""
        names = self._class_names
        return names[0] if names is not None and len(names) == 1 else None

    @property
    def merged(self) -> dict[str, str]:
        """By class, the one that it counts as."""
        if not isinstance(self.merge, str):
            return dict(self.merge)
        pairs = [part.partition("=") for part in self.merge.split(",") if part.strip()]
        for name, sign, target in pairs:
            if not (sign and name.strip() and target.strip()):
                raise CorpusError(f"--merge {self.merge}: write pairs such as exc=hap,fru=ang.")
        return {normalise(name): normalise(target) for name, _, target in pairs}

    @property
    def dropped(self) -> list[str]:
        """The classes that are left out."""
        names = self.drop.split(",") if isinstance(self.drop, str) else self.drop
        return [normalise(name) for name in names if name.strip()]

    @property
    def makes_folds(self) -> bool:
        """Whether the folds are not those of the layout."""
        return bool(self.split_by or self.folds_from)

    def classes_for(self, labels: Iterable[object]) -> list[str] | None:
        """The names of the classes for these labels: also those that are merged or dropped; None for all, sorted."""
        names = self._class_names
        if names is None or self.preset:
            return None
        present = {normalise(str(label)) for label in labels if label is not None}
        return [*names, *(name for name in (*self.merged, *self.dropped) if name in present and name not in names)]

    @property
    def _class_names(self) -> list[str] | None:
        names = self.classes.split(",") if isinstance(self.classes, str) else self.classes
        return None if names is None else [normalise(name) for name in names]


def select(corpus: Corpus, selection: Selection, findings: Sequence[Finding] = ()) -> tuple[Corpus, list[Finding]]:
    """The corpus to import, and the findings of its audit.

    Args:
        corpus: all utterances of a layout; its classes are the labels, and its folds are those of the layout.
        selection: what is chosen, and how the folds are made.
        findings: of the importer.

    Raises:
        CorpusError: a class, a fold, a pattern or what is left out does not suit the corpus.
    """
    corpus, notes = choose(corpus, selection)
    return corpus, by_severity([*audit(corpus), *findings, *notes])


def choose(corpus: Corpus, selection: Selection) -> tuple[Corpus, list[Finding]]:
    """The corpus that is selected, without an audit, and what is to be known about the choice.

    Raises:
        CorpusError: as `select`.
    """
    notes: list[Finding] = []
    if selection.folds_from:
        file = Path(expand(str(selection.folds_from)))
        folds, extra = read_folds(file, corpus.names)
        corpus = replace(corpus, folds=folds, about=f"{corpus.about}. Folds: {file.name}")
        notes += extra
    elif selection.split_by:
        corpus = replace(corpus, folds={})
    patterns = {"speaker_pattern": selection.speaker_pattern, "dialogue_pattern": selection.dialogue_pattern}
    corpus = add_columns(corpus, **patterns)
    corpus, chosen = choose_classes(corpus, selection.preset, selection.merged, selection.dropped)
    corpus, out = leave_out(corpus, selection.leave_out)
    corpus = _make_folds(corpus, selection)
    return corpus, [*notes, *chosen, *out]


def _make_folds(corpus: Corpus, selection: Selection) -> Corpus:
    """The corpus with its folds, each of three sets."""
    folds, about = dict(corpus.folds), corpus.about
    if selection.split_by:
        folds = split(corpus.utterances, selection.split_by, selection.seed)
        about += f". Folds: split by {selection.split_by}, seed {selection.seed}"
    if selection.validation_from_train is None:
        check_validation(f"Corpus '{corpus.name}'", folds)
    else:
        folds = take_validation(
            corpus.utterances, _without_validation(folds, selection), selection.validation_from_train, selection.seed
        )
        about += f". Validation: {selection.validation_from_train:g} of each training set, seed {selection.seed}"
    return replace(corpus, folds=folds, about=about)


def _without_validation(folds: Mapping[int, Fold], selection: Selection) -> dict[int, Fold]:
    """Folds without validation sets: those of a split join the training set."""
    if selection.split_by:
        none = np.zeros(0, dtype=np.int64)
        return {n: Fold(np.union1d(fold.train, fold.validation), none, fold.test) for n, fold in folds.items()}
    for number, fold in folds.items():
        if len(fold.validation):
            raise CorpusError(
                f"--validation-from-train: fold {number} has a validation set of {len(fold.validation):,} utterances "
                "already; leave the option out, or remove that set."
            )
    return dict(folds)
