"""What the Ray session has: nodes, CPUs and GPUs, and what a stage takes of them."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.execution.events import ClusterChanged, Waiting
from ifmmin.orchestrator.planning.configuration import Compute

LOOK_EVERY_S = 5.0

LOOKAHEAD = 2
"""Tasks submitted to Ray for each one that can run: enough that a worker never waits for the driver, few enough that
early runs are finished before late ones start."""

SAY_EVERY_S = 60.0
SILENT_FOR_S = 30.0
"""After this long without a word from its autoscaler, a cluster is presumed to have none."""


class ResourceError(UserError):
    """The stages need a resource that the cluster does not have and will not get."""


def describe_cluster() -> str:
    """The number of nodes, CPUs and GPUs, in words."""
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    resources = _resources()
    counts = {"node": len(nodes), "CPU": int(resources.get("CPU", 0)), "GPU": int(resources.get("GPU", 0))}
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())


def slots(compute: Compute) -> int:
    """How many stages can run at once."""
    resources = _resources()
    count = int(resources.get("CPU", 1))
    if device_of(compute) == "cuda":
        count = min(count, int(resources.get("GPU", 0) / compute.gpu_share("train", "train")))
    return max(1, min(count, compute.workers or count))


def device_of(compute: Compute) -> str:
    """`cuda` where Ray has GPUs, unless the configuration says otherwise; else `cpu`."""
    if compute.device == "auto":
        return "cuda" if _resources().get("GPU", 0) else "cpu"
    return compute.device


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """The placement of an actor that the driver needs: on the driver's node, so that both are lost only together."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def check_gpu_here(compute: Compute) -> None:
    """Refuse `compute.device: cuda` on a machine without a GPU, before Ray is started on it.

    Raises:
        ResourceError: Ray would find no GPU here.
    """
    if compute.device != "cuda":
        return
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager: Any = get_accelerator_manager_for_resource("GPU")
    visible = manager.get_current_process_visible_accelerator_ids()
    if not manager.get_current_node_num_accelerators() or visible == []:
        raise ResourceError(
            "compute.device is cuda, but there is no GPU for the stages on this machine; set compute.device to auto or "
            "cpu, or join a cluster that has one (RAY_ADDRESS=host:6379)."
        )


class Shortage:
    """Watches whether the cluster has what stages need at all: a CPU, and for `cuda` a GPU.

    Where it has not, a cluster that may still grow is waited for, with an event each minute.
    """

    def __init__(self, compute: Compute, device: str) -> None:
        self._compute, self._needed = compute, "GPU" if device == "cuda" else "CPU"
        self._had, self._since, self._said = False, 0.0, -SAY_EVERY_S

    def look(self) -> Iterator[Waiting]:
        """The event, if it is time for one.

        Raises:
            ResourceError: the resource is missing, and no autoscaler will add it.
        """
        if _resources().get(self._needed, 0) > 0:
            self._had, self._since, self._said = True, 0.0, -SAY_EVERY_S
            return
        now = time.monotonic()
        self._since = self._since or now
        growing = may_grow()
        if growing is False or (growing is None and now - self._since > SILENT_FOR_S):
            raise ResourceError(self._sentence())
        if growing and now - self._said >= SAY_EVERY_S:
            self._said = now
            yield Waiting(f"a {self._needed}; the cluster has none now ({describe_cluster()}), but may start a node")

    def _sentence(self) -> str:
        if self._needed == "CPU":
            remedy = "add a node with CPUs, or set RAY_ADDRESS=local"
        elif self._compute.device == "cuda":
            remedy = "set compute.device to auto or cpu, or add a node with a GPU"
        else:
            remedy = "add a node with a GPU, or set compute.device to cpu"
        if self._had:
            return (
                f"The cluster has no {self._needed} left for the stages ({describe_cluster()}); {remedy}, and run the "
                "same command to resume."
            )
        why = "compute.device is cuda, but " if self._needed == "GPU" and self._compute.device == "cuda" else ""
        sentence = f"{why}there is no {self._needed} for the stages on {describe_cluster()}; {remedy}."
        return sentence if why else sentence[0].upper() + sentence[1:]


class Room:
    """How many tasks the cluster has room for, looked at from time to time.

    Attributes:
        places: how many tasks can run at once.
        window: how many to submit to Ray.
    """

    def __init__(self, compute: Compute, device: str) -> None:
        self.places, self.window = 1, 0
        self._compute, self._shortage = compute, Shortage(compute, device)
        self._looked, self._description = -LOOK_EVERY_S, ""

    def look(self) -> Iterator[ClusterChanged | Waiting]:
        """What has changed, if it is time to look.

        Raises:
            ResourceError: the cluster lacks what every task needs, and cannot grow.
        """
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        self.places = slots(self._compute)
        possible = slots(self._compute.model_copy(update={"workers": None}))
        # Where the cluster has room for more tasks than there are to be, Ray must not hold more than those.
        self.window = LOOKAHEAD * self.places if self.places == possible else self.places
        if (description := describe_cluster()) != self._description:
            self._description = description
            yield ClusterChanged(description)
        yield from self._shortage.look()


def may_grow() -> bool | None:
    """Whether an autoscaler may add nodes to the cluster; None as long as that is not known.

    Ray runs a monitor beside every head. Where no autoscaler is configured, it reports each node as a type of its own,
    which is named after the node.
    """
    worker: Any = ray._private.worker
    if worker._global_node.is_head():
        return False  # a Ray that this process has started
    client = worker.global_worker.gcs_client
    if client.internal_kv_get(b"__autoscaler_v2_enabled", b"__autoscaler") == b"1":
        from ray.autoscaler.v2.sdk import get_cluster_status

        status = get_cluster_status(client.address)
        types = [node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes)]
        return _managed(types) if types else None
    report = client.internal_kv_get(b"__autoscaling_status", None)
    autoscaler = json.loads(report).get("autoscaler_report") if report else None
    return _managed(autoscaler["active_nodes"]) if autoscaler else None


def _managed(types: Iterable[str]) -> bool:
    return not all(name.startswith("node_") for name in types)


def _resources() -> Mapping[str, float]:
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources
