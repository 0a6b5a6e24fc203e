"""What a corpus of IEMOCAP's size costs a node: once for the node, and what each worker that reads it adds.

python -m tests.benchmarks.memory [--workers 3]
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from ifmmin.data.batches import Examples
from ifmmin.data.synthesis import synthesise
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.execution.workers import Workers, context_behind
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.store import Store

MEGABYTE = 2**20


def private_memory() -> int:
    """Bytes of this process that no other process shares."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def shared_memory() -> int:
    """Bytes of this machine's shared memory in use."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Shmem:"))


@ray.remote
class Reader:
    """Reads a corpus as a stage does."""

    def read(self, references: Sequence[Any]) -> int:
        """Go through all sets of a fold, and return the bytes that this has left in the process."""
        before = private_memory()
        corpus = context_behind(references[0]).corpus
        self.sets = [Examples(corpus, 1, name) for name in ("train", "validation", "test")]
        for examples in self.sets:
            for batch in examples.batches(128):
                assert len(batch)
        return private_memory() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args()
    corpus = synthesise("iemocap-sized", utterances=5531)
    size = sum(sequences.values.nbytes for sequences in corpus.sequences.values())
    with ray_session(Compute(workers=options.workers)), tempfile.TemporaryDirectory() as folder:
        before = shared_memory()
        workers = Workers.start(corpus, Store(folder), Compute())
        node = shared_memory() - before
        readers = [Reader.remote() for _ in range(options.workers)]  # type: ignore[attr-defined]
        print(f"The corpus: {size / MEGABYTE:.0f} MB; the node's shared memory grew by {node / MEGABYTE:.0f} MB.")
        for number, added in enumerate(ray.get([reader.read.remote([workers.context]) for reader in readers]), 1):
            print(f"Worker {number} added {added / MEGABYTE:.0f} MB, {added / size:.1%} of the corpus.")
        print(f"By then the node's shared memory had grown by {(shared_memory() - before) / MEGABYTE:.0f} MB.")


if __name__ == "__main__":
    main()
