"""The features of clips in the store: one key for each clip and extractor, shared by all corpora."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.folder import reason
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import source
from ifmmin.data.recordings.extractors.extractor import Extractor
from ifmmin.orchestrator.store import Store, StoreError

KEY_FORMAT = 1
DIGESTS = "digests.json"


@dataclass(frozen=True)
class FeatureRecord:
    """What became of a clip and an extractor.

    Attributes:
        utterance: the first that asked for it.
        extractor: identity, see `Extractor.identity`.
        frames: how many there are; none where the clip lacks the modality.
        seconds: computing time.
        notes: to know about the clip, see `RecordingWarning`.
        failure: why the clip cannot be used; empty if it can.
    """

    utterance: str
    extractor: str
    frames: int
    seconds: float
    notes: tuple[str, ...] = ()
    failure: str = ""


class FeatureStore:
    """Features by key below one store. A key is complete once its record exists, which is written last."""

    def __init__(self, store: Store) -> None:
        self._root = store.root / "features"

    def completed(self, keys: Iterable[str]) -> set[str]:
        """The keys among these that have a record."""
        return {path.removesuffix(".json") for path in self._root.present(f"{key}.json" for key in keys)}

    def write(self, key: str, features: NDArray[np.float32], record: FeatureRecord) -> None:
        """Write features, (time, dimension), and their record.

        Raises:
            StoreError: the store cannot be written.
        """
        if len(features):
            content = io.BytesIO()
            np.save(content, features, allow_pickle=False)
            self._write(f"{key}.npy", content.getvalue())
        self._write(f"{key}.json", json.dumps(asdict(record)).encode())

    def record(self, key: str) -> FeatureRecord:
        """The record of a key.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            content = json.loads(self._root.read(f"{key}.json"))
            return FeatureRecord(**{**content, "notes": tuple(content["notes"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise self._damaged(key, error) from None

    def read(self, key: str) -> NDArray[np.float32]:
        """The features of a key that has some, (time, dimension).

        Raises:
            StoreError: they are missing or damaged.
        """
        try:
            features: NDArray[np.float32] = np.load(io.BytesIO(self._root.read(f"{key}.npy")), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise self._damaged(key, error) from None
        return features

    def read_digests(self) -> dict[str, list[int | str]]:
        """Hashes of files that were computed before, by path; with the size and time of change that they hold for."""
        with suppress(OSError, ValueError):
            digests: dict[str, list[int | str]] = json.loads(self._root.read(DIGESTS))
            return digests
        return {}

    def write_digests(self, digests: Mapping[str, list[int | str]]) -> None:
        """Keep the hashes of files.

        Raises:
            StoreError: the store cannot be written.
        """
        self._write(DIGESTS, json.dumps(dict(digests)).encode())

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._root.write(name, content)
        except OSError as error:
            raise StoreError(
                f"{self._root}/{name} cannot be written ({reason(error)}); free space, or choose another --storage."
            ) from None

    def _damaged(self, key: str, error: Exception) -> StoreError:
        return StoreError(
            f"{self._root}/{key} is damaged ({reason(error)}); delete {key}.json there and import the recordings again."
        )


class Contents:
    """Hashes of what extractors read; those of files are kept as long as the files do not change."""

    def __init__(self, features: FeatureStore) -> None:
        self._features = features
        self._digests = features.read_digests()
        self._changed = False

    def of_file(self, path: Path) -> str:
        """The hash of a file's content.

        Raises:
            OSError: it is missing or cannot be read.
        """
        path = path.absolute()
        status = path.stat()
        known = self._digests.get(str(path))
        version: list[int | str] = [status.st_size, status.st_mtime_ns]
        if known is None or known[:2] != version:
            with path.open("rb") as file:
                known = [*version, hashlib.file_digest(file, "sha256").hexdigest()]
            self._digests[str(path)] = known
            self._changed = True
        return str(known[2])

    def keep(self) -> None:
        """Write the hashes to the store, if there are new ones."""
        if self._changed:
            self._features.write_digests(self._digests)
        self._changed = False


def key_of(clip: Clip, extractor: Extractor, contents: Contents) -> str:
    """The key of the features of a clip: of its content, which part of it, and the extractor's identity.

    Raises:
        OSError: the file of the clip is missing or cannot be read.
    """
    what = source(clip, extractor.reads)
    clip = clip.heard() if extractor.reads == "audio" else clip
    parts: dict[str, object] = {"format": KEY_FORMAT, "extractor": extractor.identity()}
    if extractor.reads == "text":
        parts["content"] = hashlib.sha256(str(what or "").encode()).hexdigest()
    else:
        parts |= {"content": contents.of_file(Path(str(what))), "start": clip.start, "end": clip.end}
    if extractor.reads == "video":
        parts["crop"] = clip.crop
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
