"""Kills workers, nodes and drivers of an experiment; the results must not show it.

`python -m tests.chaos --kills 20` does so at random times; `make test` has a short form, which holds the stages at a
gate. Linux only: it reads /proc.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.cluster_utils import Cluster

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import write_corpus
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import Plan
from ifmmin.orchestrator.store import Store
from tests.gate import Gate, wait_until
from tests.small import make_corpus

CONFIGURATION = """
corpus: small
systems: [mmin, if-mmin]
folds: {folds}
seeds: {seeds}
hyperparameters: {{epochs: {epochs}}}
compute: {{checkpoint_s: 0, retries: 100}}
"""


@contextmanager
def cluster_of(nodes: int) -> Iterator[Cluster]:
    """Real raylets on this machine, of one CPU each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


class Driver:
    """`ifmmin run` of one configuration in a working folder, on a cluster or on this machine alone; begun as often as
    need be."""

    def __init__(
        self,
        folder: Path,
        *,
        epochs: int,
        seeds: str,
        folds: str = "all",
        cluster: Cluster | None = None,
        gated: bool = False,
    ) -> None:
        self.folder, self.cluster = folder, cluster
        self.gate: Gate | None = None
        self._gated, self._begun = gated, 0
        folder.mkdir(parents=True, exist_ok=True)
        write_corpus(make_corpus(), folder_for("small", folder / "ifmmin-store"))
        (folder / "chaos.yaml").write_text(CONFIGURATION.format(epochs=epochs, seeds=seeds, folds=folds))
        self.begin()

    def begin(self) -> None:
        self._begun += 1
        address = self.cluster.address if self.cluster else "local"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
        if self._gated:
            self.gate = Gate(self.folder / f"gate-{self._begun}")
            environment |= dict([self.gate.variable])
        with (self.folder / "driver.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ifmmin", "run", "chaos.yaml"],
                cwd=self.folder,
                env=environment | {"RAY_ADDRESS": address, "COLUMNS": "120"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def advance(self) -> None:
        """Let one more stage through the gate, and return when it is complete and others wait."""
        assert self.gate is not None
        gate, target = self.gate, len(self.completed()) + 1
        gate.admit(1)
        wait_until(
            lambda: self.process.poll() is not None or (len(self.completed()) == target and gate.waiting() > 0),
            lambda: f"{len(self.completed())} of {target} stages are complete, {gate.waiting()} wait:\n{self.said()}",
        )

    def finish(self) -> None:
        """Wait for the end, which must be a good one."""
        if self.gate is not None:
            self.gate.open()
        assert self.process.wait(timeout=1800) == 0, self.said()

    def said(self) -> str:
        return (self.folder / "driver.log").read_text()

    def completed(self) -> dict[str, int]:
        """When each completed stage was written."""
        files = (self.folder / "ifmmin-store" / "stages").glob("*/stage.json")
        return {file.parent.name: file.stat().st_mtime_ns for file in files}

    def experiment(self) -> Experiment:
        return Experiment.recorded("chaos", str(self.folder / "ifmmin-store"))

    def table(self) -> str:
        return (self.folder / "ifmmin-store" / "reports" / "chaos" / "table.csv").read_text()


def bits(plan: Plan, store: Store) -> dict[str, object]:
    """The weights or predictions of every stage, so that any difference shows."""
    contents: dict[str, object] = {}
    for key, stage in plan.stages.items():
        if stage.action == "train":
            contents[key] = {name: weights.tobytes() for name, weights in sorted(store.read_weights(key).items())}
        else:
            contents[key] = store.read_table(key, "predictions").to_pydict()
    return contents


def disturb(driver: Driver, kills: list[str], wait: Callable[[], None], draw: random.Random) -> None:
    """Kill these, one after the other, until the experiment ends; no stage that was complete may be written again.

    Args:
        kills: each `worker`, `node` or `driver`.
        wait: returns when it is time for the next.
    """
    known = driver.completed()
    assert driver.cluster is not None
    for kind in kills:
        wait()
        assert driver.process.poll() is None, f"it ended before it could be disturbed:\n{driver.said()}"
        {"worker": kill_worker, "node": kill_node, "driver": kill_driver}[kind](driver, draw)
        now = driver.completed()
        assert known.items() <= now.items(), "a completed stage was written again"
        known = now
        print(f"killed a {kind} when {len(now)} stages were complete", flush=True)
    driver.finish()
    assert known.items() <= driver.completed().items(), "a completed stage was written again"


def kill_worker(driver: Driver, draw: random.Random) -> None:
    """One that computes a stage; wait for one, if need be."""
    workers = wait_until(lambda: busy_workers(driver), lambda: f"nothing is computed:\n{driver.said()}")
    os.kill(draw.choice(workers), signal.SIGKILL)


def busy_workers(driver: Driver) -> list[int]:
    """Processes of the cluster that compute a stage."""
    assert driver.cluster is not None
    nodes = driver.cluster.list_all_nodes()  # type: ignore[no-untyped-call]
    raylets = {info.process.pid for node in nodes for info in node.all_processes["raylet"]}
    return [pid for pid, parent, title in processes() if parent in raylets and "ray::run_stages" in title]


def kill_node(driver: Driver, draw: random.Random) -> None:
    """One beside the head, and add another."""
    assert driver.cluster is not None
    nodes = driver.cluster.list_all_nodes()  # type: ignore[no-untyped-call]
    others = [node for node in nodes if not node.is_head()]
    driver.cluster.remove_node(draw.choice(others), allow_graceful=False)
    driver.cluster.add_node(num_cpus=1)


def kill_driver(driver: Driver, _: random.Random) -> None:
    """And begin again."""
    driver.process.kill()
    driver.process.wait()
    driver.begin()


def processes() -> Iterator[tuple[int, int, str]]:
    """Number, parent and title of every process of this machine."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                yield int(folder.name), parent, (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:  # it has ended
                continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--longest", type=float, default=10.0, help="seconds between two kills, at most")
    arguments = parser.parse_args()
    kills = [("worker", "node", "driver")[index % 3] for index in range(arguments.kills)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quiet = Driver(folder / "quiet", epochs=arguments.epochs, seeds=arguments.seeds)
        quiet.finish()
        with cluster_of(3) as cluster:
            driver = Driver(folder / "disturbed", epochs=arguments.epochs, seeds=arguments.seeds, cluster=cluster)
            draw = random.Random(0)
            disturb(driver, kills, lambda: time.sleep(draw.uniform(2.0, arguments.longest)), draw)
        calm, wild = quiet.experiment(), driver.experiment()
        assert bits(wild.plan, wild.store) == bits(calm.plan, calm.store), "the results differ"
        assert driver.table() == quiet.table(), "the tables differ"
        print("\n".join(line for line in driver.said().splitlines() if line.startswith(("again", "On "))))
        print(f"killed: {dict(Counter(kills))}; the table and all {len(wild.plan.stages)} stages have the same bits")


if __name__ == "__main__":
    main()
