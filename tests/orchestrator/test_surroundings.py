"""What a process is given by its machine: CPUs, temporary folders, addresses, a job's folder, signals."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ifmmin.data.errors import UserError
from ifmmin.data.folder import Folder
from ifmmin.data.paths import PathError, expand
from ifmmin.orchestrator.execution import resources, temporary
from ifmmin.orchestrator.execution.cluster import ClusterError, checked_address, find_cluster
from ifmmin.orchestrator.execution.cpus import allotment, fewest, quota
from ifmmin.orchestrator.execution.events import Waiting
from ifmmin.orchestrator.execution.job import JobError, check_job
from ifmmin.orchestrator.execution.owners import owner_of_file
from ifmmin.orchestrator.execution.resources import ResourceError, Shortage
from ifmmin.orchestrator.planning.configuration import Compute, load_configuration


@pytest.mark.parametrize(
    ("files", "group", "expected"),
    [
        ({}, "/", None),
        ({"cpu.max": "max 100000"}, "/", None),
        ({"cpu.max": "150000 100000"}, "/", 1.5),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000", "cpu.max": "max 100000"}, "/a/b", 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "/", None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, "/docker/1", 2.0),
        ({"cpu.max": "nonsense"}, "/", None),
    ],
)
def test_a_quota_is_the_least_of_all_control_groups_above(
    files: dict[str, str], group: str, expected: float | None, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    assert quota(tmp_path, group) == expected


def test_slurm_allots_cpus_of_the_task_before_those_of_the_node() -> None:
    assert allotment({}) is None
    assert allotment({"SLURM_CPUS_ON_NODE": "8"}) == 8
    assert allotment({"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}) == 2
    assert allotment({"SLURM_CPUS_ON_NODE": ""}) is None
    assert fewest(16, 3.9, 8) == 3


@pytest.mark.parametrize("named", ["10.0.0.1:6379", "localhost:6379", "[::1]:6379"])
def test_an_address_of_a_cluster_is_taken_as_it_is(named: str) -> None:
    assert checked_address(named) == named


@pytest.mark.parametrize(
    ("named", "remedy"),
    [
        ("http://head:8265", "ray job submit --address http://head:8265"),
        ("https://head", "ray job submit"),
        ("ray://head:10001", "RAY_ADDRESS to host:6379|RAY_ADDRESS=head:6379"),
        ("::1:6379", r"\[::1\]:6379"),
        ("head", "10.0.0.1:6379"),
        ("head:0", "10.0.0.1:6379"),
        ("redis://head:6379", "10.0.0.1:6379"),
    ],
)
def test_an_address_for_something_else_is_refused_with_what_to_do(named: str, remedy: str) -> None:
    with pytest.raises(ClusterError, match=remedy) as refused:
        checked_address(named)
    assert named in str(refused.value)
    assert "RAY_ADDRESS=local" in str(refused.value)


def test_local_joins_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    assert find_cluster("local") is None


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every file; see tests/clusters.py")
def test_a_note_of_the_cluster_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    note = tmp_path / "ray" / "ray_current_cluster"
    note.parent.mkdir()
    note.touch(mode=0)
    with pytest.raises(ClusterError, match=re.escape(str(note))):
        find_cluster("")


def test_the_owner_of_a_file_that_is_not_there_is_that_of_its_folder(tmp_path: Path) -> None:
    assert owner_of_file(tmp_path / "a" / "b") == owner_of_file(tmp_path)


def test_a_temporary_folder_that_does_not_do_is_replaced_by_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(deep))
    with temporary.ray_folder() as folder:
        assert folder is not None
        assert len(folder) <= temporary.LONGEST
        assert Path(folder).is_dir()
    assert not Path(folder).exists()
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    with pytest.raises(UserError, match="set RAY_TMPDIR to a folder"), temporary.ray_folder():
        pass


def test_a_temporary_folder_that_does_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    with temporary.ray_folder() as folder:
        assert folder is None or os.getuid() != 0


def test_a_file_is_not_a_temporary_folder(tmp_path: Path) -> None:
    file = Path("/dev/null")
    assert "cannot be written" in str(temporary.problem_with(file))
    with pytest.raises(UserError, match="set RAY_TMPDIR"):
        temporary.first_usable([file, tmp_path / "missing"])


def test_a_job_may_not_keep_results_where_ray_deletes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(JobError, match=r"The store and the MLflow database .* --storage FOLDER"):
        check_job("ifmmin-store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    with pytest.raises(JobError, match="The store would be"):
        check_job("ifmmin-store")
    check_job(str(tmp_path / "store"))
    check_job("s3://bucket/store")
    for inside in ("sqlite:///mlflow.db", "mlruns", f"sqlite:///{folder}/mlflow.db", f"file://{folder}/mlruns"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", inside)
        with pytest.raises(JobError, match="The MLflow database would be"):
            check_job("s3://bucket/store")
    for outside in (f"sqlite:///{tmp_path}/mlflow.db", f"file://{tmp_path}/mlruns", "postgresql://host/mlflow"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", outside)
        check_job("s3://bucket/store")


def test_nothing_is_refused_outside_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_job("ifmmin-store")


def test_homes_and_variables_in_paths_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BUCKET", "lab")
    monkeypatch.chdir(tmp_path)
    assert expand("~/store") == f"{tmp_path}/store"
    assert expand("s3://$BUCKET/${BUCKET}-x") == "s3://lab/lab-x"
    assert expand("a~b/costs $") == "a~b/costs $"
    assert load_configuration("demo", {"storage": "~/store"}).storage == f"{tmp_path}/store"
    Folder("~/store").write("file", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("path", ["$IFMMIN_NOT_SET/x", "${IFMMIN_NOT_SET}", "~nobody-of-this-name/x"])
def test_a_path_that_cannot_be_expanded_is_refused(path: str) -> None:
    with pytest.raises(PathError, match=re.escape(path)):
        load_configuration("demo", {"storage": path})
    with pytest.raises(PathError, match=re.escape(path)):
        Folder(path)


class Resources:
    """A cluster whose resources a test changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, grows: bool | None) -> None:
        self.counts: dict[str, float] = {"CPU": 2}
        self.now = 1000.0
        monkeypatch.setattr(resources, "_resources", lambda: self.counts)
        monkeypatch.setattr(resources, "may_grow", lambda: grows)
        monkeypatch.setattr(resources, "describe_cluster", lambda: "1 node")
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.mark.parametrize(("device", "needed"), [("cuda", "GPU"), ("cpu", "CPU")])
def test_a_missing_resource_ends_a_run_on_a_cluster_that_cannot_grow(
    monkeypatch: pytest.MonkeyPatch, device: str, needed: str
) -> None:
    cluster = Resources(monkeypatch, grows=False)
    cluster.counts = {"CPU": 1, "GPU": 1}
    shortage = Shortage(Compute(), device)
    assert list(shortage.look()) == []
    del cluster.counts[needed]
    with pytest.raises(ResourceError, match=f"no {needed} left .* run the same command to resume"):
        list(shortage.look())
    with pytest.raises(ResourceError, match=f"(?i)there is no {needed}"):
        list(Shortage(Compute(), device).look())


def test_a_cluster_that_may_grow_is_waited_for_with_a_line_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Resources(monkeypatch, grows=True)
    shortage = Shortage(Compute(device="cuda"), "cuda")
    events = []
    for _ in range(27):  # 130 s
        events += list(shortage.look())
        cluster.now += 5
    assert len(events) == 3
    assert all(isinstance(event, Waiting) and "GPU" in event.what for event in events)
    cluster.counts = {"CPU": 2, "GPU": 1}
    assert list(shortage.look()) == []


def test_a_cluster_that_says_nothing_of_an_autoscaler_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Resources(monkeypatch, grows=None)
    shortage = Shortage(Compute(device="cuda"), "cuda")
    assert list(shortage.look()) == []
    cluster.now += resources.SILENT_FOR_S + 1
    with pytest.raises(ResourceError, match=r"compute\.device is cuda"):
        list(shortage.look())


INTERRUPTED = """
import os, signal, sys, time
from ifmmin.orchestrator.execution.interruption import exit_status, signals_interrupt
with signals_interrupt():
    signal.signal(signal.SIGTERM, lambda *_: os.abort())  # as Ray does
    try:
        print("ready", flush=True)
        while True:
            time.sleep(0.05)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        if sys.argv[1] == "twice":
            while True:
                time.sleep(0.05)
        sys.exit(exit_status())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", ["once", "twice"])
def test_a_signal_interrupts_once_and_ends_the_process_the_second_time(number: signal.Signals, times: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, times], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "ready\n"
        process.send_signal(number)
        assert output.readline() == "interrupted\n"
        if times == "twice":
            process.send_signal(number)
        assert process.wait() == 128 + number
