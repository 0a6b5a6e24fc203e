"""What a job of `ray job submit` would lose: files in the folder that Ray unpacks for it, and deletes."""

import os
import re
from pathlib import Path

from ifmmin.data.errors import UserError
from ifmmin.data.paths import expand

UNPACKED = re.compile(r"/runtime_resources/working_dir_files/")
"""Part of the path of every folder that Ray unpacks for a job; it deletes them when it needs the space."""


class JobError(UserError):
    """A job's results would be deleted."""


def check_job(storage: str, tracking_uri: str | None = None) -> None:
    """Refuse to write results where Ray deletes them.

    Args:
        storage: folder or URI of the store.
        tracking_uri: of MLflow; by default that of the environment.

    Raises:
        JobError: the store or MLflow's database is in the folder of a Ray job.
    """
    tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "mlflow.db"
    lost = [what for what, path in (("store", storage), ("MLflow database", tracking_uri)) if _is_deleted(path)]
    if lost:
        raise JobError(
            f"The {' and the '.join(lost)} would be in the folder of this Ray job, which Ray deletes; submit it as "
            "ray job submit … -- env MLFLOW_TRACKING_URI=http://HOST:5000 python -m ifmmin … --storage FOLDER, where "
            "FOLDER is one that all nodes see, with its whole path, or a bucket (s3://…, gs://…)."
        )


def _is_deleted(location: str) -> bool:
    """Whether a path, or a URI of a file or of an SQLite database, is in the folder of a job."""
    scheme, separator, rest = location.partition("://")
    if separator and scheme not in ("file", "sqlite"):
        return False
    # sqlite:///relative, sqlite:////absolute, file:///absolute
    path = rest.removeprefix("/") if scheme == "sqlite" else rest
    return UNPACKED.search(str(Path(path if separator else expand(location)).absolute())) is not None
