"""Joins and leaves Ray clusters of every kind, for real, on this machine; says for each what was seen.

`python -m tests.clusters` runs all trials, `python -m tests.clusters joining users` those of two groups. It needs
`ray[default]`, and for some trials to be root on Linux; those are left out elsewhere. Nothing but what it has started
is ended.
"""

import argparse
import operator
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import write_corpus
from tests.chaos import processes
from tests.gate import PATIENCE_S, Gate, wait_until
from tests.small import make_corpus

RUN = ("run", "small.yaml")
REFUSED_WITHIN_S = 10.0
CONFIGURATION = """
corpus: small
systems: [mmin]
folds: 1-2
hyperparameters: {epochs: 1}
"""
SEARCH = "search: {trials: 4, space: {learning_rate: {low: 0.0001, high: 0.01}}}\n"
AUTOSCALING = """
cluster_name: growing
max_workers: 2
provider: {type: fake_multinode, use_node_id_as_ip: true, disable_node_updaters: true,
           disable_launch_config_check: true, head_node_id: fffffffffffffffffffffffffffffffffffffffffffffffffff00000}
auth: {}
available_node_types:
  ray.head.default: {resources: {CPU: 1}, node_config: {}, max_workers: 0}
  worker: {resources: {CPU: 1}, node_config: {}, min_workers: 0, max_workers: 2}
head_node_type: ray.head.default
upscaling_speed: 1.0
idle_timeout_minutes: 5
initialization_commands: []
setup_commands: []
head_setup_commands: []
worker_setup_commands: []
head_start_ray_commands: []
worker_start_ray_commands: []
file_mounts: {}
cluster_synced_files: []
file_mounts_sync_continuously: false
rsync_exclude: []
rsync_filter: []
head_node: {}
worker_nodes: {}
"""
DRIVER, NEIGHBOUR = 12345, 12346
"""Users without an entry in the password file."""


NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    text: str
    seconds: float


class Place:
    """A working folder with the corpus and configurations, a home folder, and a short temporary folder for Ray."""

    def __init__(self, root: Path) -> None:
        self.root, self.home, self.temporary = root, root / "home", root / "r"
        for folder in (self.home, self.temporary):
            folder.mkdir()
            folder.chmod(0o777)
        write_corpus(make_corpus(), folder_for("small", root / "ifmmin-store"))
        (root / "small.yaml").write_text(CONFIGURATION)
        (root / "cuda.yaml").write_text(f"{CONFIGURATION}compute: {{device: cuda}}\n")
        (root / "search.yaml").write_text(CONFIGURATION + SEARCH)
        (root / "growing.yaml").write_text(AUTOSCALING)
        for path in (root, *root.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "RAY_", "SLURM")) and k != "TMPDIR"}
        here = {"HOME": str(self.home), "RAY_TMPDIR": str(self.temporary), "COLUMNS": "120", "TERM": "dumb"}
        python = {"PYTHONPATH": str(Path(__file__).parents[1]), "RAY_USAGE_STATS_ENABLED": "0"}
        return {k: v for k, v in {**kept, **here, **python, **changes}.items() if v}

    def start(self, command: Sequence[str], log: Path, variables: Mapping[str, str]) -> "subprocess.Popen[str]":
        environment = self.environment(variables)
        with log.open("w") as stream:
            return subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=stream, stderr=subprocess.STDOUT, text=True
            )

    def call(self, *command: str, **changes: str) -> Ended:
        started, log = time.monotonic(), self.root / "last.log"
        process = self.start(command, log, changes)
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
        return Ended(process.wait(), log.read_text(errors="replace"), time.monotonic() - started)

    def ifmmin(self, *arguments: str, wrap: Callable[[list[str]], list[str]] = list, **changes: str) -> Ended:
        """A command of `ifmmin`, from a store with nothing but the corpus."""
        self.forget()
        return self.call(*wrap([sys.executable, "-m", "ifmmin", *arguments]), **changes)

    def forget(self) -> None:
        for path in (self.root / "ifmmin-store").iterdir():
            if path.is_file():
                path.unlink()
            elif path.name != "corpora":
                shutil.rmtree(path)

    @contextmanager
    def head(
        self, *options: str, wrap: Callable[[list[str]], list[str]] = list, variables: Mapping[str, str] = NOTHING
    ) -> Iterator[str]:
        """A head of `ray start` in its own processes, and its address."""
        port = free_port()
        ray = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            f"--port={port}",
            "--num-cpus=2",
            "--block",
        ]
        ports = [f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
        log = self.root / f"head-{port}.log"
        process = self.start(wrap([*ray, *ports, *options]), log, variables)
        try:
            wait_until(
                lambda: process.poll() is not None or "runtime started" in log.read_text(errors="replace"),
                lambda: log.read_text(errors="replace"),
            )
            assert process.poll() is None, log.read_text(errors="replace")
            yield f"127.0.0.1:{port}"
        finally:
            end_with_children(process)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def end_with_children(process: "subprocess.Popen[str]") -> None:
    """End a head: the processes below it, by their numbers, then itself."""
    below: set[int] = set()
    level = {process.pid}
    while level:
        below |= level
        level = {pid for pid, parent, _ in processes() if parent in below} - below
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
    for pid in below:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def report(name: str, ended: Ended, status: int, *expected: str) -> None:
    """Say what was seen, and whether it is right."""
    last = [line for line in ended.text.splitlines() if line.strip()][-1:] or [""]
    fast = ended.seconds < REFUSED_WITHIN_S or "RAY_ADDRESS=local" not in ended.text
    right = ended.status == status and fast and all(re.search(text, ended.text) for text in expected)
    FAILED.extend([] if right else [name])
    print(f"{'ok ' if right else 'BAD'} {name}: exit {ended.status} in {ended.seconds:.1f} s: {last[0]}", flush=True)
    if not right:
        print(f"    expected exit {status} and {expected}; all of it:\n{ended.text}", flush=True)


FAILED: list[str] = []


def joining(place: Place) -> None:
    """Clusters with and without tokens, found or named in every way."""
    joined = "On 1 node, 2 CPUs"
    first = place.ifmmin(*RUN, RAY_ADDRESS="local")
    report("a run without a cluster", first, 0, "On 1 node")
    assert not (place.home / ".ray").exists(), "a local run left a token behind"
    place.call(str(Path(sys.executable).with_name("ray")), "get-auth-token", "--generate")
    for kind, changes in {"with a token": {}, "without a token": {"RAY_AUTH_MODE": "disabled"}}.items():
        with place.head("--include-dashboard=false", variables=changes) as address:
            port = address.rpartition(":")[2]
            report(f"{kind}, found by itself", place.ifmmin(*RUN), 0, joined)
            for named in (address, "auto", f"[::1]:{port}", f"localhost:{port}"):
                report(f"{kind}, RAY_ADDRESS={named}", place.ifmmin(*RUN, RAY_ADDRESS=named), 0, joined)
            if not changes:
                empty = place.root / "empty"
                empty.mkdir()
                ended = place.ifmmin(*RUN, HOME=str(empty))
                report("the token is missing", ended, 2, "there is none in", "RAY_ADDRESS=local")
                report(
                    "another token", place.ifmmin(*RUN, RAY_AUTH_TOKEN="0" * 64), 2, "RAY_AUTH_TOKEN is not the right"
                )
    dead = f"127.0.0.1:{free_port()}"
    for named in (dead, "http://127.0.0.1:8265", "ray://127.0.0.1:10001", "::1:6379", "head", "auto"):
        report(f"RAY_ADDRESS={named}", place.ifmmin(*RUN, RAY_ADDRESS=named), 2, "^error: .*RAY_ADDRESS=local")
    with socket.create_server(("127.0.0.1", 0)) as server:
        named = f"127.0.0.1:{server.getsockname()[1]}"
        report("a port of another program", place.ifmmin(*RUN, RAY_ADDRESS=named), 2, "does not answer")


def gpus(place: Place) -> None:
    """`compute.device: cuda` where there is no GPU."""
    report("cuda on this machine", place.ifmmin("run", "cuda.yaml", RAY_ADDRESS="local"), 2, "there is no GPU")
    with place.head("--include-dashboard=false", variables={"RAY_AUTH_MODE": "disabled"}) as address:
        report("cuda on a fixed cluster", place.ifmmin("run", "cuda.yaml", RAY_ADDRESS=address), 2, "there is no GPU")
    config = f"--autoscaling-config={place.root / 'growing.yaml'}"
    growing = {"RAY_AUTH_MODE": "disabled", "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    with place.head("--include-dashboard=false", config, variables=growing) as address:
        place.forget()
        started = time.monotonic()
        log, program = place.root / "last.log", [sys.executable, "-m", "ifmmin", "run", "cuda.yaml"]
        process = place.start(program, log, {"RAY_ADDRESS": address})
        wait_until(
            lambda: process.poll() is not None or "Waiting for a GPU" in log.read_text(), lambda: log.read_text()
        )
        process.send_signal(signal.SIGINT)
        ended = Ended(process.wait(PATIENCE_S), log.read_text(), time.monotonic() - started)
        report(
            "cuda on a cluster that may grow, then Ctrl-C", ended, 130, "Waiting for a GPU", "Interrupted after 0 of"
        )


def signals(place: Place) -> None:
    """SIGTERM and Ctrl-C while stages run, once and twice; what is left."""
    for name, command, numbers, status in (
        ("SIGTERM in a run", RUN, [signal.SIGTERM], 143),
        ("Ctrl-C in a run", RUN, [signal.SIGINT], 130),
        ("SIGTERM in a search", ("search", "search.yaml"), [signal.SIGTERM], 143),
        ("Ctrl-C twice in a run", RUN, [signal.SIGINT, signal.SIGINT], 130),
    ):
        ended = interrupted(place, Gate(place.root / name.replace(" ", "-")), command, numbers)
        report(name, ended, status, *(["Interrupted after 0 of"] if len(numbers) == 1 else []))
        wait_until(lambda: not left(place), lambda: f"still there: {left(place)}")
        running = place.call(sys.executable, "-c", STILL_RUNNING)
        report(f"{name}: MLflow", running, 0, "running: 0" if len(numbers) == 1 else "running")


def interrupted(place: Place, gate: Gate, command: tuple[str, ...], numbers: list[signal.Signals]) -> Ended:
    """A command that gets signals when a stage waits at the gate."""
    place.forget()
    started, log = time.monotonic(), place.root / "last.log"
    variables = {"RAY_ADDRESS": "local", **dict([gate.variable])}
    process = place.start([sys.executable, "-m", "ifmmin", *command], log, variables)
    wait_until(lambda: gate.waiting() > 0 or process.poll() is not None, log.read_text)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.1)
    return Ended(process.wait(PATIENCE_S), log.read_text(), time.monotonic() - started)


STILL_RUNNING = """
from mlflow.tracking import MlflowClient
client = MlflowClient()
ids = [e.experiment_id for e in client.search_experiments()]
runs = client.search_runs(ids) if ids else []
print("runs:", [(run.data.tags.get("ifmmin.level"), run.info.status) for run in runs])
print("running:", sum(run.info.status == "RUNNING" for run in runs))
"""


def left(place: Place) -> list[str]:
    """The processes of Ray that have the temporary folder of this place."""
    return [title for _, _, title in processes() if str(place.temporary) in title]


def jobs(place: Place) -> None:
    """`ray job submit`, and `ray job stop`."""
    ray = str(Path(sys.executable).with_name("ray"))
    port = free_port()
    with place.head("--dashboard-host=127.0.0.1", f"--dashboard-port={port}", variables={"RAY_AUTH_MODE": "disabled"}):
        submit = (ray, "job", "submit", "--address", f"http://127.0.0.1:{port}", "--working-dir", ".", "--")
        (place.root / ".rayignore").write_text("/r/\n/home/\n*.log\ngate*\n")
        quiet = {"RAY_AUTH_MODE": "disabled"}
        wait_until(lambda: place.call(*submit, "true", **quiet).status == 0)
        program = (sys.executable, "-m", "ifmmin", *RUN)
        ended = place.call(*submit, *program, **quiet)
        report("a job without --storage", ended, 1, "which Ray deletes", "--storage FOLDER", "MLFLOW_TRACKING_URI=")
        kept = (*program, "--storage", str(place.root / "ifmmin-store"))
        database = f"MLFLOW_TRACKING_URI=sqlite:///{place.root}/mlflow.db"
        place.forget()
        report(
            "a job with storage and tracking", place.call(*submit, "env", database, *kept, **quiet), 0, "6 stages run"
        )
        place.forget()
        gate = Gate(place.root / "gate-job")
        gated = ("env", database, f"{'='.join(gate.variable)}", *kept)
        named = (*submit[:5], "--submission-id", "stopped", "--no-wait", *submit[5:])
        place.call(*named, *gated, **quiet)
        logs = (ray, "job", "logs", "--address", submit[4], "stopped")
        wait_until(lambda: gate.waiting() > 0, lambda: place.call(*logs, **quiet).text)
        place.call(ray, "job", "stop", "--address", submit[4], "stopped", **quiet)
        report("ray job stop", place.call(*logs, **quiet), 0, "Interrupted after 0 of")


def surroundings(place: Place) -> None:
    """Temporary folders, homes, limits and CPUs that differ from a workstation's."""
    deep = place.root / ("deep-" * 20)
    deep.mkdir()
    ended = place.ifmmin(*RUN, RAY_ADDRESS="local", RAY_TMPDIR="", TMPDIR=str(deep))
    report("a long TMPDIR", ended, 0, "6 stages run")
    report("a long RAY_TMPDIR", place.ifmmin(*RUN, RAY_ADDRESS="local", RAY_TMPDIR=str(deep)), 2, "set RAY_TMPDIR to")
    report("HOME cannot be written", place.ifmmin(*RUN, RAY_ADDRESS="local", HOME="/proc/home"), 0, "6 stages run")
    for name, prefix, expected in (
        ("256 open files", ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"], "6 stages run"),
        ("one CPU of the affinity", ["taskset", "-c", "0"], "On 1 node, 1 CPU,"),
    ):
        ended = place.ifmmin(*RUN, wrap=partial(operator.add, prefix), RAY_ADDRESS="local")
        report(name, ended, 0, expected)
    slurm = place.ifmmin(*RUN, RAY_ADDRESS="local", SLURM_CPUS_PER_TASK="1", SLURM_CPUS_ON_NODE="2")
    report("one CPU of Slurm", slurm, 0, "On 1 node, 1 CPU,")
    if can_be_others():
        small = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=64m none /dev/shm && exec "$@"', "sh"]
        ended = place.ifmmin(*RUN, wrap=lambda command: [*small, *command], RAY_ADDRESS="local")
        report("64 MB of /dev/shm", ended, 0, "6 stages run")


def users(place: Place) -> None:
    """Users without an entry in the password file, and clusters of another user."""
    if not can_be_others():
        return

    def by_driver(**changes: str) -> Ended:
        return place.ifmmin(*RUN, wrap=lambda command: as_user(DRIVER, command), **changes)

    report("a user without an entry", by_driver(RAY_ADDRESS="local"), 0, "6 stages run")
    neighbour = place.root / "neighbour"
    neighbour.mkdir()
    os.chown(neighbour, NEIGHBOUR, NEIGHBOUR)
    ray = str(Path(sys.executable).with_name("ray"))
    made = place.call(*as_user(NEIGHBOUR, [ray, "get-auth-token", "--generate"]), HOME=str(neighbour))
    token, note = neighbour / ".ray" / "auth_token", place.temporary / "ray" / "ray_current_cluster"
    assert token.exists(), made.text
    token.chmod(0o600)
    with place.head(
        "--include-dashboard=false",
        wrap=lambda command: as_user(NEIGHBOUR, command),
        variables={"HOME": str(neighbour)},
    ) as address:
        whose = f"of user {NEIGHBOUR}"
        report("another user's cluster, found", by_driver(), 2, whose, "auth_token", "RAY_ADDRESS=local")
        named = by_driver(RAY_ADDRESS=address)
        report("another user's cluster, named", named, 2, whose, "auth_token", "RAY_ADDRESS=local")
        unreadable = by_driver(RAY_AUTH_TOKEN_PATH=str(token))
        report("a token that cannot be read", unreadable, 2, re.escape(str(token)), "cannot be read", "=local")
        note.chmod(0o600)
        report("an address that cannot be read", by_driver(), 2, re.escape(str(note)), str(NEIGHBOUR), "=local")
        report("a run beside it", by_driver(RAY_ADDRESS="local"), 0, "6 stages run")


def can_be_others() -> bool:
    """Whether this process may have mounts of its own and become another user."""
    able = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    if not able:
        print("left out: needs root on Linux", flush=True)
    return able


def as_user(number: int, command: list[str]) -> list[str]:
    """A command as another user, who sees this interpreter even if it is in root's home folder."""
    base = Path(os.path.realpath(sys.executable)).parents[1]
    script = (
        f"keep=$(mktemp -d) && mount --bind {base} $keep && mount -t tmpfs -o mode=755 none /root && "
        f"mkdir -p {base} && mount --bind $keep {base} && "
        f'exec setpriv --reuid {number} --regid {number} --clear-groups "$@"'
    )
    return ["unshare", "-m", "sh", "-c", script, "sh", *command]


GROUPS = {group.__name__: group for group in (joining, gpus, signals, jobs, surroundings, users)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="by default all")
    names = parser.parse_args().groups or list(GROUPS)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and theirs, would ignore it
    for name in names:
        root = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))  # a short path: those of sockets have a limit
        print(f"-- {name}: {GROUPS[name].__doc__}", flush=True)
        try:
            GROUPS[name](Place(root))
        finally:
            shutil.rmtree(root, ignore_errors=True)
    print(f"{len(FAILED)} trials went wrong: {', '.join(FAILED)}" if FAILED else "all as expected")
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()
