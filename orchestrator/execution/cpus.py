"""How many CPUs this process may use: by its affinity, its container's quota and Slurm's allotment."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """The number of CPUs that this process may use, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return fewest(affinity, quota(CONTROL_GROUPS, _own_group()), allotment(os.environ))


def fewest(affinity: int, quota: float | None, allotment: int | None) -> int:
    """The least of what affinity, quota and allotment allow; a quota of a part of a CPU counts as one.

    >>> fewest(8, None, None), fewest(8, 2.5, None), fewest(8, 0.5, None), fewest(8, None, 4)
    (8, 2, 1, 4)
    """
    limits = [affinity, *([] if quota is None else [math.floor(quota)]), *([] if allotment is None else [allotment])]
    return max(1, min(limits))


def allotment(environment: Mapping[str, str]) -> int | None:
    """What Slurm allots: the CPUs of a task where the job asks for CPUs per task, else those of the job on this node.

    >>> allotment({"SLURM_CPUS_ON_NODE": "16"}), allotment({"SLURM_CPUS_ON_NODE": "16", "SLURM_CPUS_PER_TASK": "4"})
    (16, 4)
    """
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        count = environment.get(name, "")
        if count.isdecimal() and int(count) > 0:
            return int(count)
    return None


def quota(control_groups: Path, group: str) -> float | None:
    """The CPUs that a control group, or one above it, grants (version 2 or 1); None without a limit.

    Args:
        control_groups: where they are mounted.
        group: this process's, as a path below the mount; `/` in a container.
    """
    granted = []
    folder = Path(group.strip("/"))
    for above in (folder, *folder.parents):
        granted += [_quota_2(control_groups / above), _quota_1(control_groups / "cpu" / above)]
    limits = [limit for limit in granted if limit is not None]
    return min(limits) if limits else None


def _quota_2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdecimal() else None


def _quota_1(folder: Path) -> float | None:
    granted, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    return int(granted[0]) / int(period[0]) if granted and period and granted[0].isdecimal() else None


def _own_group() -> str:
    """The path of this process's control group: that of version 2, or of the controller `cpu` of version 1."""
    try:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:  # not Linux
        return "/"
    paths = {name: path for _, controllers, path in lines for name in controllers.split(",")}
    return paths.get("cpu", paths.get("", "/"))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []
