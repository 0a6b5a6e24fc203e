"""What an import takes in memory, measured in a process of its own: at most three times the size of its files."""

import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

MEASURE = """
import sys
import h5py, numpy, pyarrow
import ifmmin
from ifmmin.data.layouts import mmin, mmsa

def peak():  # getrusage would count the memory of the process that started this one
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

before = peak()
corpus = getattr(ifmmin, sys.argv[1])(sys.argv[2], "big", storage=sys.argv[3], leave_out=sys.argv[4:])
print(len(corpus), peak() - before)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what was used")

SIZE = 80_000_000
"""Bytes of features; large against what a process takes anyway, small enough for a test."""


def write_pickle(folder: Path, kind: str, protocol: int) -> Path:
    content, start = {}, 0
    count = SIZE // (np.dtype(kind).itemsize * 1000)
    for name, size in (("train", count * 7 // 10), ("valid", count // 10), ("test", count // 5)):
        content[name] = {
            "id": [f"v{(start + i) // 4}$_${start + i}" for i in range(size)],
            "regression_labels": np.resize([-1.0, 0.0, 1.0], size),
            "audio": np.ones((size, 50, 6), kind),
            "vision": np.ones((size, 40, 10), kind),
            "text": np.ones((size, 10, 30), kind),
        }
        start += size
    file = folder / "big.pkl"
    with file.open("wb") as stream:
        pickle.dump(content, stream, protocol)
    return file


def write_folder(folder: Path, kind: str) -> Path:
    root = folder / "layout"
    names = [f"u{i:04}" for i in range(SIZE // (np.dtype(kind).itemsize * 10_000))]
    for path, width in (("A/comparE.h5", 40), ("V/denseface.h5", 60), ("L/bert_large.h5", 100)):
        (root / path).parent.mkdir(parents=True)
        with h5py.File(root / path, "w") as features:
            for name in names:
                features[name] = np.ones((50, width), kind)
    for fold in (1, 2, 3):
        target = root / "target" / str(fold)
        target.mkdir(parents=True)
        for place, prefix in enumerate(("trn", "val", "tst")):
            chosen = [i for i in range(len(names)) if (i // 2 + fold) % 3 == place]
            np.save(target / f"{prefix}_int2name.npy", np.array([names[i] for i in chosen]))
            np.save(target / f"{prefix}_label.npy", np.array([i % 2 for i in chosen]))
    return root


def memory(importer: str, source: Path, *leave_out: str) -> float:
    """The most memory that an import takes, in sizes of the files."""
    store = source.parent / f"store{len(leave_out)}"
    command = [sys.executable, "-c", MEASURE, importer, str(source), str(store), *leave_out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    return int(done.stdout.split()[1]) / sum(path.stat().st_size for path in files)


# Each writes, imports and writes again some 100 MB.
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "protocol"), [("f4", 2), ("f8", 4), ("f4", 5)])
def test_a_pickle_takes_three_times_its_size(tmp_path: Path, kind: str, protocol: int) -> None:
    assert memory("import_mmsa", write_pickle(tmp_path, kind, protocol)) < 3


@pytest.mark.slow
def test_hdf5_files_take_three_times_their_size(tmp_path: Path) -> None:
    root = write_folder(tmp_path, "f4")
    assert memory("import_mmin", root) < 3
    with h5py.File(root / "V/denseface.h5", "r+") as features:
        features["u0001"][0, 0] = np.nan
    assert memory("import_mmin", root, "broken") < 3
