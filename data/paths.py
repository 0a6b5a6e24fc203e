"""Paths as people write them: with `~` and environment variables."""

import os
import re

from ifmmin.data.errors import UserError


class PathError(UserError):
    """A path that cannot be expanded."""


def expand(path: str) -> str:
    """A path or URI with a home folder and environment variables in the place of `~`, `$NAME` and `${NAME}`.

    Raises:
        PathError: a variable is unset or empty, or a user has no home folder; a shell would go on with another path.
    """
    for match in re.finditer(r"\$(?:(\w+)|\{([^}]*)\})", path):
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise PathError(
                f"'{path}' needs the environment variable {name}, which is not set; set it, or write the path."
            )
    expanded = os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111  (a URI is not a Path)
    if expanded.startswith("~"):
        raise PathError(f"'{path}' begins with a home folder that this machine does not know; write the whole path.")
    return expanded
