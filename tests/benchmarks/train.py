"""What training costs at IEMOCAP's sizes: IF-MMIN's stages as they are, beside the same programmed the plain way.

    python -m tests.benchmarks.train [--plain PATH/TO/plain.py] [--epochs 2] [--precision bfloat16]

prints seconds for an epoch of each stage, time and CPU seconds for a run (20 + 40 epochs, what is done once, and the
test) and memory beyond the corpus, for one process of two threads and for two processes of one thread. `plain.py` runs
in between, with two threads.
"""

import argparse
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ifmmin.data.batches import Examples
from ifmmin.data.corpus import open_corpus, write_corpus
from ifmmin.data.folder import Folder
from ifmmin.data.synthesis import synthesise
from ifmmin.model.definition import Shape, Weights
from ifmmin.model.evaluation import predict
from ifmmin.model.run import Precision, Start, autocast
from ifmmin.model.systems import SYSTEMS
from ifmmin.model.training import train, trained_network
from tests.small import ALL_CONDITIONS

RUN = {"pretrain": 20, "train": 40}
"""Epochs of a run."""


@dataclass
class Cost:
    """Seconds that passed, and seconds of all threads' computing."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, times: float) -> "Cost":
        return Cost(self.wall * times, self.cpu * times)


class Clock:
    """What has been spent since the last call."""

    def __init__(self) -> None:
        self._last = time.perf_counter(), time.process_time()

    def lap(self) -> Cost:
        now = time.perf_counter(), time.process_time()
        cost = Cost(now[0] - self._last[0], now[1] - self._last[1])
        self._last = now
        return cost


@dataclass
class Measured:
    """A process's figures: mean epochs by stage, everything else of a run, and bytes beyond the corpus at most."""

    epochs: dict[str, Cost]
    rest: Cost
    memory: float

    @property
    def run(self) -> Cost:
        return sum((self.epochs[stage] * count for stage, count in RUN.items()), self.rest)


def measure(location: str, threads: int, epochs: int, precision: Precision) -> Measured:
    """Train and test as a stage does, with fewer epochs; the first epoch of each stage includes one-time costs."""
    torch.set_num_threads(threads)
    memory, clock = PrivateMemory(), Clock()
    corpus, rest, means = open_corpus(Folder(location)), Cost(), {}
    upstream: dict[str, Weights] = {}
    for stage, definition in SYSTEMS["if-mmin"].stages.items():
        laps: list[Cost] = []
        hyperparameters = definition.make_hyperparameters({"epochs": epochs + 1})
        on_epoch = lambda _, laps=laps: laps.append(clock.lap())  # noqa: E731
        start = Start(1, 0, {name: upstream[name] for name in definition.after}, on_epoch)
        upstream[stage] = train(definition, hyperparameters, corpus, start, precision=precision).weights
        means[stage] = sum(laps[1:], Cost()) * (1 / epochs)
        rest = rest + laps[0] + means[stage] * -1
    network = trained_network(definition, hyperparameters, Shape.of(corpus), [upstream[stage]])
    with autocast("cpu", precision):
        predict(network, Examples(corpus, 1, "test"), ALL_CONDITIONS)
    return Measured(means, rest + clock.lap(), memory.most())


class PrivateMemory:
    """Watches how many bytes of its own, not of the mapped corpus, this process holds."""

    def __init__(self) -> None:
        self._start = self._most = self._now()
        threading.Thread(target=self._watch, daemon=True).start()

    def most(self) -> int:
        return self._most - self._start

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, self._now())
            time.sleep(0.02)

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def plain(path: str, threads: int) -> Cost:
    """A run of the plain program, as it says itself; its CPU seconds in the proportion of what it ran here."""
    command = [sys.executable, path, "--threads", str(threads)]
    started, spent = time.perf_counter(), os.times()
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wall, now = time.perf_counter() - started, os.times()
    cpu = now.children_user + now.children_system - spent.children_user - spent.children_system
    seconds = float(re.search(r"run_20_40_s=(\d+)", printed)[1])  # type: ignore[index]
    print(f"  plain.py: {printed.strip()}; {cpu / wall:.2f} CPU seconds a second")
    return Cost(seconds, seconds * cpu / wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", metavar="PATH")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}")
    with tempfile.TemporaryDirectory() as location:
        write_corpus(synthesise("iemocap-sized"), Folder(location))
        for processes, threads in ((1, 2), (2, 1)):
            print(f"{processes} process{'es' * (processes > 1)}, {threads} thread{'s' * (threads > 1)}:")
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                arguments = [(location, threads, options.epochs, options.precision)] * processes
                measured = pool.starmap(measure, arguments)
            for one in measured:
                epochs = ", ".join(f"{stage} {cost.wall:.2f} s" for stage, cost in one.epochs.items())
                print(
                    f"  an epoch: {epochs}; a run: {one.run.wall:.0f} s, {one.run.cpu:.0f} CPU s, of which "
                    f"{one.rest.cpu:.0f} not in epochs; {one.memory / 2**30:.2f} GB"
                )
            hourly = sum(3600 / one.run.wall for one in measured)
            print(f"  runs an hour: {hourly:.1f}")
            if options.plain:
                yardstick = plain(options.plain, 2)
                print(f"  CPU seconds: 1/{yardstick.cpu / measured[0].run.cpu:.1f} of plain.py's")
                print(f"  runs an hour: {hourly / (3600 / yardstick.wall):.1f} times plain.py's")


if __name__ == "__main__":
    main()
