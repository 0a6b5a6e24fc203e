"""Whose a file or a listening port of this machine is, for messages; on Linux, elsewhere not known."""

import os
import socket
from pathlib import Path


def owner_of_file(file: Path) -> str:
    """The name of the user whose file or folder this is, or that of the nearest folder above that can be seen."""
    for path in (file, *file.parents):
        try:
            return user_name(path.stat().st_uid)
        except OSError:
            continue
    return "unknown"


def owner_of_port(host: str, port: int) -> str | None:
    """The name of another user whose process listens at a port of this machine; None if it is ours or not known."""
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        return None  # not an address of this machine
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        owner = listener(lines, port)
        if owner is not None and owner != os.getuid():
            return user_name(owner)
    return None


def listener(lines: list[str], port: int) -> int | None:
    """The user number of the process that listens at a port.

    Args:
        lines: of /proc/net/tcp, without its heading.

    >>> listener(["0: 00000000:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1001 0 77 1"], 6379)
    1001
    """
    for line in lines:
        _, local, _, state, _, _, _, user, *_ = line.split()
        if state == "0A" and int(local.rpartition(":")[2], 16) == port:
            return int(user)
    return None


def user_name(number: int) -> str:
    """The name of a user, or the number where there is no entry for it."""
    try:
        import pwd

        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError):
        return str(number)
