"""What a stage costs besides its epochs, at IEMOCAP's sizes: the first one in a worker process, and those after it.

    python -m tests.benchmarks.startup [--stages 3]

One worker trains a stage of one epoch on one fold after the other. Counted is all that passes between the moment the
stages are handed to Ray, or the end of the stage before, and the end of a stage, but for its epoch.
"""

import argparse
import tempfile
import time
from typing import Any

from ifmmin.data.synthesis import synthesise
from ifmmin.orchestrator.execution.events import EpochEnded, Event, Failed, Finished
from ifmmin.orchestrator.execution.scheduler import run_plan
from ifmmin.orchestrator.execution.workers import Workers
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import make_plan
from ifmmin.orchestrator.store import Store


class Stopwatch:
    """Notes the time that passes outside of epochs."""

    def __init__(self) -> None:
        self.last = 0.0
        self.besides: list[float] = []
        self._epochs: dict[str, float] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, EpochEnded):
            self._epochs[event.stage.key] = event.epoch.seconds
        elif isinstance(event, Finished):
            now = time.perf_counter()
            if event.stage.action == "train":
                self.besides.append(now - self.last - self._epochs[event.stage.key])
            self.last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=3)
    options = parser.parse_args()
    corpus = synthesise("iemocap-sized", utterances=5531)
    changes = {
        "systems": ["fusion"],
        "folds": f"1-{options.stages}",
        "hyperparameters": {"epochs": 1},
        "compute": {"workers": 1},
    }
    configuration = load_configuration("demo", changes)
    plan = make_plan(configuration, corpus)
    stopwatch = Stopwatch()
    start = Workers.start

    def handed_in(*arguments: Any) -> Workers:
        workers = start(*arguments)
        stopwatch.last = time.perf_counter()
        return workers

    Workers.start = handed_in  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as folder:
        for event in run_plan(plan, corpus, Store(folder), configuration.compute):
            assert not isinstance(event, Failed), event.failure.reason
            stopwatch.take(event)
    first, *others = stopwatch.besides
    print(f"The first stage in a worker process: {first:.2f} s besides its epoch.")
    print(f"Those after it: {', '.join(f'{seconds * 1000:.0f} ms' for seconds in others)}.")


if __name__ == "__main__":
    main()
