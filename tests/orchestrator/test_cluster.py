"""Real nodes on this machine, some of which are lost."""

from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.chaos import Driver, bits, cluster_of, disturb
from tests.orchestrator.conftest import run_in_this_process


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_three_nodes_and_what_is_lost_on_the_way_do_not_show_in_the_results(tmp_path: Path) -> None:
    with cluster_of(3) as cluster:
        driver = Driver(tmp_path / "cluster", epochs=20, seeds="0", cluster=cluster)
        disturb(driver, ["worker", "node", "driver"], (1.0, 4.0))
    assert "On 3 nodes, 3 CPUs, 0 GPUs." in driver.said()
    experiment = driver.experiment()
    alone = Store(tmp_path / "alone")
    run_in_this_process(experiment.plan, experiment.corpus, alone)
    assert bits(experiment.plan, experiment.store) == bits(experiment.plan, alone)
