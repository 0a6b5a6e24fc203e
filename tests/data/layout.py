"""A small made-up folder in the MMIN layout, for tests to import and to spoil."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

DIMENSIONS = {"A/comparE.h5": 3, "V/denseface.h5": 4, "L/bert_large.h5": 5}
SPEAKERS = ("Ses01F", "Ses01M", "Ses02F", "Ses02M", "Ses03F", "Ses03M")
SETS = ("trn", "val", "tst")


def names_of(speaker: str, count: int = 8) -> list[str]:
    return [f"{speaker[:5]}{'F' if i % 2 else 'M'}_impro01_{speaker[5]}{i:03}" for i in range(count)]


def write_layout(root: Path, *, repeat_last_fold: bool = False, integers: bool = False, raw: bool = False) -> Path:
    """Six speakers in three sessions, two classes, three folds that each test a speaker and validate on another."""
    rng = np.random.default_rng(0)
    names = {speaker: names_of(speaker) for speaker in SPEAKERS}
    labels = {name: i % 2 for group in names.values() for i, name in enumerate(group)}
    for path, dimension in DIMENSIONS.items():
        file = root / (path.replace("comparE", "comparE_raw") if raw and path.startswith("A") else path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(file, "w") as features:
            for name in labels:
                features[name] = rng.normal(size=(int(rng.integers(2, 9)), dimension))
    for fold in (1, 2, 3):
        tested = 2 if repeat_last_fold and fold == 3 else fold
        test, validation = SPEAKERS[2 * tested - 2], SPEAKERS[2 * tested - 1]
        chosen = {"tst": names[test], "val": names[validation]}
        chosen["trn"] = [n for speaker, group in names.items() if speaker not in (test, validation) for n in group]
        for prefix in SETS:
            write_set(root, fold, prefix, chosen[prefix], [labels[n] for n in chosen[prefix]], integers=integers)
    return root


def write_set(
    root: Path, fold: int, prefix: str, names: list[str], labels: list[int], *, integers: bool = False
) -> None:
    folder = root / "target" / str(fold)
    folder.mkdir(parents=True, exist_ok=True)
    values = np.array(labels) if integers else np.eye(2, dtype=np.int64)[labels]
    np.save(folder / f"{prefix}_label.npy", values)
    np.save(folder / f"{prefix}_int2name.npy", np.array([[name.encode()] for name in names]))


def change_array(file: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(file, change(np.load(file)))


def change_sequence(file: Path, value: object, name: str = "Ses02M_impro01_F002") -> None:
    with h5py.File(file, "r+") as features:
        assert name in features
        del features[name]
        if value is not None:
            features[name] = value
