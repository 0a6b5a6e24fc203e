"""What an extractor is: it turns a clip into features, (time, dimension)."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.errors import UserError
from ifmmin.data.recordings.clip import Clip

Features = NDArray[np.float32]
Reads = Literal["audio", "video", "text"]

TITLES: Mapping[Reads, str] = {"audio": "acoustic", "video": "visual", "text": "textual"}
"""What the features of something read are called."""


class ExtractorError(UserError):
    """An extractor is unknown, or lacks what it needs on this machine."""


class Extractor(ABC):
    """Turns clips into features.

    Attributes:
        name: as in `--extract a=NAME`.
        version: raised whenever the features of a clip change.
        reads: the track or the text of a clip that it needs.
        dimension: number of features of a frame.
        rate: frames a second; None where frames are tokens, or one vector.
        licence: of its program and weights, in a sentence where there are strings attached.
        encoder: which suits its features: `lstm` frames, `textcnn` tokens, `linear` one vector a clip.
        hyperparameters: everything else that its features depend on.
        weights: hash of the files of its model; empty where it has none.
    """

    name: str
    version: str
    reads: Reads
    dimension: int
    rate: float | None = None
    licence: str
    encoder: Literal["lstm", "textcnn", "linear"] = "lstm"
    hyperparameters: Mapping[str, Any] = {}
    weights: str = ""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions that it imports, beside those that `ifmmin` needs; a served model names them."""

    uses_gpu: ClassVar[bool] = False
    """Whether it computes on a GPU where there is one."""

    @property
    def modality(self) -> str:
        """The letter of the modality that it usually serves."""
        return TITLES[self.reads][0]

    @abstractmethod
    def extract(self, clip: Clip) -> Features:
        """The features of a clip, float32 (time, dimension); no frames where the clip lacks the modality.

        Raises:
            RecordingError: the clip cannot be used.
        """

    def identity(self) -> str:
        """Everything that the features of a clip depend on beside the clip, as text."""
        parts = {
            "name": self.name,
            "version": self.version,
            "hyperparameters": dict(self.hyperparameters),
            "weights": self.weights,
        }
        return json.dumps(parts, sort_keys=True)


def hash_of(files: Iterable[Path]) -> str:
    """The hash of the contents of files, in this order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(_hash(file, file.stat().st_mtime_ns).encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=256)
def _hash(file: Path, _changed: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def packaged(package: str, file: str, remedy: str) -> Path:
    """A file of an installed package, which is not imported.

    Raises:
        ExtractorError: the package is not installed.
    """
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = files(package) or []
    except PackageNotFoundError:
        listed = []
    for path in listed:
        if str(path) == file and Path(str(path.locate())).is_file():
            return Path(str(path.locate()))
    raise ExtractorError(f"The package {package}, which holds {file}, is not installed; run {remedy}.")


def need(module: str, package: str, extractor: str) -> None:
    """Check that an optional package is installed.

    Raises:
        ExtractorError: it is not.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ExtractorError(f"Extractor {extractor} needs the package {package}; run pip install '{package}'.")
