"""Joining a Ray cluster, or starting Ray on this machine for as long as a command takes.

What is wrong with an address, and whose cluster it is, is found out before Ray is asked: Ray would wait for long, and
end the process where a token is missing.
"""

import logging
import os
import secrets
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import ray
from ray._common.utils import get_ray_address_file
from ray._private.services import find_gcs_addresses, find_node_ids
from ray.exceptions import RayError

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.execution.cpus import usable_cpus
from ifmmin.orchestrator.execution.interruption import sigterm_handler_kept
from ifmmin.orchestrator.execution.owners import owner_of_file, owner_of_port
from ifmmin.orchestrator.execution.resources import check_gpu_here
from ifmmin.orchestrator.execution.temporary import ray_folder
from ifmmin.orchestrator.planning.configuration import Compute

ANSWER_S = 7.0
"""How long a cluster may take to answer."""

LOCAL = "RAY_ADDRESS=local runs on this machine alone"

_PROBE = """
import sys
from ray._raylet import GcsClient
try:
    print("nodes", *(node.hex() for node in GcsClient(address=sys.argv[1]).get_all_node_info(timeout=3)))
except Exception as error:
    print("token" if type(error).__name__ == "AuthenticationError" else "")
"""


class ClusterError(UserError):
    """A Ray cluster cannot be joined, or Ray cannot be started."""


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that was found.

    Attributes:
        address: `host:port`.
        source: the variable or file that names it.
    """

    address: str
    source: str

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The parts of its address."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def described(self) -> str:
        """The cluster and, if it is on this machine and another user's, whose it is."""
        owner = owner_of_port(*self.host_and_port)
        whose = f" of user {owner}" if owner else ""
        return f"the Ray cluster{whose} at {self.address}, which {self.source} names,"


@contextmanager
def ray_session(compute: Compute) -> Iterator[None]:
    """Join the Ray cluster of this machine, or start Ray on it for as long as the context lasts.

    A cluster is one that RAY_ADDRESS names, or that `ray start` started here; RAY_ADDRESS=local joins none. Where the
    caller has called `ray.init`, as notebooks do, that session is used, and left open.

    Raises:
        ClusterError: the cluster cannot be joined, or Ray cannot be started.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # The driver reports failures, once; Ray would print them again for every stage that depended on one.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    cluster = find_cluster(os.environ.get("RAY_ADDRESS", ""))
    with _joined(cluster) if cluster else _started(compute):
        yield


def find_cluster(named: str) -> Cluster | None:
    """The cluster to join; None if there is none, so that Ray is to be started here.

    Args:
        named: the content of RAY_ADDRESS.

    Raises:
        ClusterError: it names none that can be joined, or the address of the cluster started here cannot be read.
    """
    if named == "local":
        return None
    if named and named != "auto":
        cluster = Cluster(checked_address(named), "RAY_ADDRESS")
        if problem := _unreachable(cluster):
            raise ClusterError(f"No Ray cluster answers at {named}, which RAY_ADDRESS names ({problem}); {LOCAL}.")
        return cluster
    started = _started_here()
    if started is not None and not _unreachable(started):
        return started
    if named == "auto":
        for address in find_gcs_addresses():  # type: ignore[no-untyped-call]
            return Cluster(address, "RAY_ADDRESS=auto")
        raise ClusterError(f"RAY_ADDRESS is auto, and no Ray cluster runs on this machine; {LOCAL}.")
    return None  # there never was one, or the one that was started here has ended


def checked_address(named: str) -> str:
    """The address of a cluster as `host:port`.

    Raises:
        ClusterError: it is one for another purpose, or not an address.
    """
    scheme, separator, rest = named.partition("://")
    if separator and scheme in ("http", "https"):
        raise ClusterError(
            f"RAY_ADDRESS={named} is the address of a dashboard, which takes jobs: ray job submit --address {named} "
            f"--working-dir . -- python -m ifmmin …; to join a cluster set RAY_ADDRESS to host:6379; {LOCAL}."
        )
    if separator and scheme == "ray":
        host = rest.rpartition(":")[0] or rest
        raise ClusterError(
            f"RAY_ADDRESS={named} is an address of Ray Client, which cannot carry an experiment; on a node of the "
            f"cluster set RAY_ADDRESS={host}:6379, from elsewhere use ray job submit --address http://{host}:8265; "
            f"{LOCAL}."
        )
    host, _, port = named.rpartition(":")
    valid = host and port.isdecimal() and 0 < int(port) < 65536 and not separator
    if not valid or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ClusterError(
            f"RAY_ADDRESS={named} is not an address such as 10.0.0.1:6379 or [::1]:6379; correct it, or unset it to "
            f"use the cluster of this machine; {LOCAL}."
        )
    return named


def _started_here() -> Cluster | None:
    """The cluster that `ray start` has started here, from the file in which Ray notes it.

    Raises:
        ClusterError: the file cannot be read.
    """
    file = Path(get_ray_address_file(None))
    try:
        address = file.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError):
        raise ClusterError(
            f"{file}, where Ray notes the cluster of this machine, belongs to user {owner_of_file(file)} and cannot be "
            f"read; name your cluster with RAY_ADDRESS=host:port; {LOCAL}."
        ) from None
    with suppress(ClusterError):
        return Cluster(checked_address(address), str(file))
    return None


def _unreachable(cluster: Cluster) -> str | None:
    """Why nothing answers at the address of a cluster; None if something does. Ray would wait for minutes."""
    try:
        socket.create_connection(cluster.host_and_port, timeout=5).close()
    except OSError as error:
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return None


@contextmanager
def _joined(cluster: Cluster) -> Iterator[None]:
    with _environment({"RAY_AUTH_MODE": mode_of(cluster)}):
        try:
            with sigterm_handler_kept():
                ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, RayError) as error:
            described = cluster.described
            raise ClusterError(
                f"{described[0].upper()}{described[1:]} cannot be joined ({_line(error)}); {LOCAL}."
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _started(compute: Compute) -> Iterator[None]:
    check_gpu_here(compute)
    with ray_folder() as folder, _environment(_own_token()):
        try:
            with sigterm_handler_kept():
                ray.init(
                    "local",
                    num_cpus=compute.workers or usable_cpus(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=folder,
                )
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise ClusterError(
                f"Ray cannot be started on this machine ({_line(error)}); if that is a matter of its temporary folder, "
                "set RAY_TMPDIR to another."
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def mode_of(cluster: Cluster) -> str:
    """RAY_AUTH_MODE for joining a cluster: `token` where it asks for one and the user's is right, else `disabled`.

    Each mode is tried in a process of its own, as Ray decides for a whole process.

    Raises:
        ClusterError: the cluster asks for another token, is not one, or has no node on this machine.
    """
    modes = ("disabled", "token")
    answers = dict(zip(modes, _ask(cluster, modes), strict=True))
    for mode, answer in answers.items():
        if answer and answer[0] == "nodes":
            if not find_node_ids() & set(answer):  # type: ignore[no-untyped-call]
                raise ClusterError(
                    f"This machine is not a node of {cluster.described} so that it cannot join; run the command on one "
                    f"of its nodes, or use ray job submit --address http://HEAD:8265 …; {LOCAL}."
                )
            return mode
    described = cluster.described[0].upper() + cluster.described[1:]
    if answers["disabled"] == ["token"]:
        whose = owner_of_port(*cluster.host_and_port) or "the one who started it"
        raise ClusterError(
            f"{described} asks for a token, and {_token_problem()}; copy the ~/.ray/auth_token of {whose} to a file "
            f"and set RAY_AUTH_TOKEN_PATH to it; {LOCAL}."
        )
    raise ClusterError(
        f"{described} does not answer as one of Ray {ray.__version__} within {ANSWER_S:.0f} s; it may be another "
        f"program or version; {LOCAL}."
    )


def _ask(cluster: Cluster, modes: Iterable[str]) -> list[list[str]]:
    """The words that a cluster answers in each mode: `nodes` and their ids, `token` where it asks for one, or none."""
    probes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROBE, cluster.address],
            env={**os.environ, "RAY_AUTH_MODE": mode},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for mode in modes
    ]
    deadline = time.monotonic() + ANSWER_S
    answers = []
    try:
        for probe in probes:
            with suppress(subprocess.TimeoutExpired):
                probe.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for probe in probes:
            probe.kill()
            answers.append(probe.communicate()[0].split())
    return answers


def _token_problem() -> str:
    """What is wrong with the user's token, as the end of a sentence."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "the one in RAY_AUTH_TOKEN is not the right one"
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token"))  # noqa: PTH111
    try:
        file.read_bytes()
    except FileNotFoundError:
        return f"there is none in {file}"
    except OSError as error:
        return f"{file} cannot be read ({os.strerror(error.errno or 0)})"
    return f"the one in {file} is not the right one"


def _own_token() -> dict[str, str]:
    """Variables that give a Ray on this machine a token of its own.

    By default Ray would write one to ~/.ray, which every cluster that is started later would ask for, and which is not
    possible where that folder cannot be written.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that Ray reads; it keeps what it has read, so it is made to read them again."""
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    os.environ.update(variables)
    _reread()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reread()


def _reread() -> None:
    with suppress(ImportError):  # a Ray without tokens
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def _line(error: BaseException) -> str:
    """The message of an error on one line, without a full stop; of a failed connection what is behind it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return textwrap.shorten(lines[0], 400).rstrip(".")
