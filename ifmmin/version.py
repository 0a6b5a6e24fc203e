"""The version of the package. Git's tags hold it; building or installing records it among the package's metadata."""

from importlib import metadata

UNKNOWN = "0.0"
"""The version of files that were neither built nor installed, or that were built without git's history."""


def package_version() -> str:
    """The version that `ifmmin --version` prints, and that reports and MLflow record."""
    try:
        return metadata.version("ifmmin")
    except metadata.PackageNotFoundError:
        return UNKNOWN
