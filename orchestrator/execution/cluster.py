"""Ray on this machine or on a cluster: joining it, its resources, and what a stage takes of them."""

import logging
import os
import socket
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray._private.utils import read_ray_address
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.planning.configuration import Compute


@contextmanager
def ray_session(compute: Compute) -> Iterator[None]:
    """Join the Ray cluster of this machine, or start Ray on it for as long as the context lasts.

    A cluster is one that RAY_ADDRESS names, or that `ray start` started here; RAY_ADDRESS=local joins none. Where the
    caller has called `ray.init`, as notebooks do, that session is used, and left open.

    Raises:
        UserError: the cluster cannot be joined.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # The driver reports failures, once; Ray would print them again for every stage that depended on one.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    options: dict[str, Any] = {"address": _address(), "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        try:
            ray.init(num_cpus=compute.workers or os.cpu_count(), include_dashboard=False, **options)
        except ValueError:  # Ray refuses a number of CPUs where it finds a cluster to join
            ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"The Ray cluster cannot be joined ({textwrap.shorten(str(error), 200)}); RAY_ADDRESS=local runs on this "
            "machine alone."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _address() -> str | None:
    """The address to join; None if Ray is to find it. Ray would wait minutes for a machine that is gone.

    Raises:
        UserError: nothing answers where RAY_ADDRESS says.
    """
    named = os.environ.get("RAY_ADDRESS")
    address = named or read_ray_address() or ""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "://" in address:
        return named
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        if named:
            raise UserError(
                f"No Ray cluster answers at {named}, which RAY_ADDRESS names ({error}); RAY_ADDRESS=local runs on this "
                "machine alone."
            ) from error
        return "local"  # the cluster that was started here once has ended
    return address


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


def _resources() -> Mapping[str, float]:
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources
