"""Real nodes on this machine, some of which are lost."""

import random
import socket
import tempfile
from pathlib import Path

import pytest
import ray

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.execution.resources import describe_cluster
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.store import Store
from tests.chaos import Driver, bits, cluster_of, disturb
from tests.orchestrator.conftest import run_in_this_process


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_three_nodes_and_what_is_lost_on_the_way_do_not_show_in_the_results(tmp_path: Path) -> None:
    with cluster_of(3) as cluster:
        driver = Driver(tmp_path / "cluster", epochs=4, seeds="0", folds="1-2", cluster=cluster, gated=True)
        disturb(driver, ["worker", "node", "driver"], lambda: driver.advance(), random.Random(0))
    assert "On 3 nodes, 3 CPUs, 0 GPUs." in driver.said()
    experiment = driver.experiment()
    alone = Store(tmp_path / "alone")
    run_in_this_process(experiment.plan, experiment.corpus, alone)
    assert bits(experiment.plan, experiment.store) == bits(experiment.plan, alone)


@pytest.fixture
def gone() -> str:
    """An address where nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_named_cluster_that_is_gone_is_reported_at_once(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", gone)
    with pytest.raises(UserError, match=f"No Ray cluster answers at {gone}"), ray_session(Compute()):
        pass
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_cluster_that_ended_here_without_clearing_up_is_passed_over(
    gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a short path: those of sockets have a limit
        monkeypatch.delenv("RAY_ADDRESS")
        monkeypatch.setenv("RAY_TMPDIR", folder)
        note = Path(folder) / "ray" / "ray_current_cluster"
        note.parent.mkdir()
        note.write_text(gone)
        with ray_session(Compute(workers=1)):
            assert describe_cluster() == "1 node, 1 CPU, 0 GPUs"
