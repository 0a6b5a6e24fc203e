"""What the plan and the scheduler cost: thousands of stages that only sleep, through the store and on real workers.

    python -m tests.benchmarks.schedule [--stages 10000] [--sleep 0.05] [--workers 2]

prints the time from the first stage's beginning to the last one's end beside the ideal, and the most memory the driver
held. With `TMPDIR=/dev/shm` the store is in memory, and the disk is not measured.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from ifmmin.data.catalogue import SHIPPED
from ifmmin.data.corpus import open_corpus
from ifmmin.data.folder import Folder
from ifmmin.orchestrator.commands.display import Display
from ifmmin.orchestrator.execution import stages
from ifmmin.orchestrator.execution.events import Event, Finished, Started
from ifmmin.orchestrator.execution.pace import Pace
from ifmmin.orchestrator.execution.scheduler import run_plan
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import make_plan
from ifmmin.orchestrator.planning.stage import Stage, StageResult
from ifmmin.orchestrator.store import Store

SLEEP = "BENCHMARK_SLEEP_S"


def sleep_instead() -> None:
    """Let this worker's stages do nothing."""

    def execute(stage: Stage, *_: Any, **__: Any) -> StageResult:
        seconds = float(os.environ[SLEEP])
        time.sleep(seconds)
        name = "history" if stage.action == "train" else "predictions"
        return StageResult({"weight": np.zeros(4, np.float32)}, {name: pa.table({"epoch": [1]})}, seconds)

    def execute_together(tasks: Sequence[stages.Task], *_: Any, **__: Any) -> list[StageResult]:
        return [execute(task.stage) for task in tasks]

    vars(stages).update(execute=execute, execute_together=execute_together)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=10_000)
    parser.add_argument("--sleep", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    os.environ[SLEEP] = str(options.sleep)
    hook = {"worker_process_setup_hook": f"{__spec__.name}.{sleep_instead.__name__}"}
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # where workers find the hook
    os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps({"runtime_env": hook})

    corpus = open_corpus(Folder(SHIPPED, "digits"))
    seeds = list(range(options.stages // (2 * len(corpus.folds))))  # a run of this system is two stages
    changes = {"systems": ["fusion"], "seeds": seeds, "compute": {"workers": options.workers}}
    configuration = load_configuration("demo", changes)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        plan = make_plan(configuration, corpus)
        planned = time.perf_counter()
        with Display(Console(), "sleep", plan, list(plan.stages.values()), Pace()) as display:
            times: dict[type[Event], list[float]] = {Started: [], Finished: []}
            for event in run_plan(plan, corpus, Store(folder), configuration.compute):
                times.setdefault(type(event), []).append(time.perf_counter())
                display.take(event)
    count = len(plan.stages)
    assert len(times[Finished]) == count
    began, ended = times[Started][0], times[Finished][-1]
    ideal = count * options.sleep / options.workers
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    makespan = ended - began
    print(f"{count} stages of {options.sleep * 1000:g} ms on {options.workers} workers:")
    print(f"planned in {planned - started:.1f} s, Ray and its workers ready in {began - planned:.1f} s more")
    print(f"run in {makespan:.1f} s, {makespan / ideal - 1:.1%} above the ideal of {ideal:.1f} s")
    print(f"the driver held at most {memory:.2f} GB")


if __name__ == "__main__":
    main()
