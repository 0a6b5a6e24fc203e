"""What a stage costs besides its epochs, at IEMOCAP's sizes: the first one in a worker process, and those after it.

    python -m tests.benchmarks.startup [--stages 3]

One worker trains a stage of one epoch on one fold after the other. Counted is all that passes between the moment the
stages are handed to Ray, or the end of the stage before, and the end of a stage, but for its epoch.
"""

import argparse
import tempfile
import time
from typing import Any

from rich.console import Console

from ifmmin.data.synthesis import synthesise
from ifmmin.model.checkpoint import Epoch
from ifmmin.orchestrator.commands.progress import Display
from ifmmin.orchestrator.execution.pace import Pace
from ifmmin.orchestrator.execution.scheduler import run_plan
from ifmmin.orchestrator.execution.workers import Workers
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import Stage, make_plan
from ifmmin.orchestrator.store import Store


class Stopwatch(Display):
    """Notes what passes outside of epochs."""

    last = 0.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fixed: list[float] = []
        self._epochs: dict[str, float] = {}

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        self._epochs[stage.key] = epoch.seconds
        super().epoch(stage, epoch)

    def finished(self, stage: Stage, seconds: float) -> None:
        now = time.perf_counter()
        if stage.action == "train":
            self.fixed.append(now - self.last - self._epochs[stage.key])
        self.last = now
        super().finished(stage, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=3)
    asked = parser.parse_args()
    corpus = synthesise("iemocap-sized", utterances=5531)
    settings = {
        "systems": ["fusion"],
        "folds": f"1-{asked.stages}",
        "parameters": {"epochs": 1},
        "compute": {"workers": 1},
    }
    configuration = load_configuration("demo", settings)
    plan = make_plan(configuration, corpus)
    stopwatch = Stopwatch(Console(), "start-up", plan, list(plan.stages.values()), Pace())
    start = Workers.start

    def handed_in(*arguments: Any) -> Workers:
        workers = start(*arguments)
        stopwatch.last = time.perf_counter()
        return workers

    Workers.start = handed_in  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder, stopwatch:
        outcome = run_plan(plan, corpus, Store(folder), configuration.compute, stopwatch)
    assert not outcome.failed, outcome.failed
    first, *others = stopwatch.fixed
    print(f"The first stage in a worker process: {first:.2f} s besides its epoch.")
    print(f"Those after it: {', '.join(f'{seconds * 1000:.0f} ms' for seconds in others)}.")


if __name__ == "__main__":
    main()
