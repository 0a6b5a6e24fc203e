"""The store: results of stages by key, and the configuration of each experiment, in a folder or bucket.

It is reached by pyarrow.fs. A stage is complete once its `stage.json` exists; that file is written last and atomically.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.numpy

from ifmmin.data.errors import UserError, nearest
from ifmmin.data.folder import Folder, reason
from ifmmin.model.history import Checkpoint, Epoch
from ifmmin.orchestrator.planning.stage import Stage, StageResult

if TYPE_CHECKING:
    from ifmmin.model.definition import Weights

CHECKPOINT = "checkpoint.safetensors"


class StoreError(UserError):
    """The store cannot be read or written, or something in it is damaged."""


class Store:
    """Results by stage key below one folder or URI. It holds only its location, so it can be sent to workers."""

    def __init__(self, location: str | Path) -> None:
        """Name a store; nothing is created before something is written.

        Raises:
            UserError: the location is not a valid path or URI.
        """
        self.root = Folder(location)

    @property
    def location(self) -> str:
        """The location as messages show it."""
        return str(self.root)

    def completed(self, keys: Iterable[str]) -> set[str]:
        """The keys among these whose results are in the store."""
        present = (self.root / "stages").present(f"{key}/stage.json" for key in keys)
        return {path.removesuffix("/stage.json") for path in present}

    def write_stage(self, stage: Stage, result: StageResult) -> None:
        """Write the result of a stage; until this returns, the stage counts as not done.

        Raises:
            StoreError: the disk is full, or the store cannot be written.
        """
        record = {
            "stage": vars(stage),
            "seconds": result.seconds,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        }
        if result.weights:
            weights = safetensors.numpy.save(dict(result.weights))
            self._write(_path(stage.key, "weights.safetensors"), weights)
        for name, table in result.tables.items():
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression="zstd")
            self._write(_path(stage.key, f"{name}.parquet"), sink.getvalue())
        self._write(_path(stage.key, "stage.json"), json.dumps(record, indent=2).encode())
        with suppress(OSError):
            self.root.delete(_path(stage.key, CHECKPOINT))

    def read_weights(self, key: str) -> "Weights":
        """Weights of a completed stage.

        Raises:
            StoreError: they are missing or damaged.
        """
        path = _path(key, "weights.safetensors")
        try:
            return dict(safetensors.numpy.load(self.root.read(path)))
        except (OSError, safetensors.SafetensorError) as error:
            raise self._damaged(key, path, error) from None

    def read_upstream(self, stage: Stage) -> "dict[str, Weights]":
        """The weights of all stages that a stage starts from, by their names within the run.

        Raises:
            StoreError: they are missing or damaged.
        """
        return {name: self.read_weights(key) for name, key in stage.upstream.items()}

    def read_table(self, key: str, name: str) -> pa.Table:
        """`history` or `predictions` of a completed stage.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = _path(key, f"{name}.parquet")
        try:
            return pq.read_table(pa.BufferReader(self.root.read(path)))
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(key, path, error) from None

    def read_record(self, key: str) -> dict[str, Any]:
        """The record of a completed stage: `seconds`, `finished`, `machine`, and the `stage` itself.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = _path(key, "stage.json")
        try:
            record: dict[str, Any] = json.loads(self.root.read(path))
        except (OSError, ValueError) as error:
            raise self._damaged(key, path, error) from None
        return record

    def write_checkpoint(self, key: str, checkpoint: Checkpoint) -> None:
        """Write the checkpoint of a stage, which is kept until the stage is done.

        Raises:
            StoreError: the store cannot be written.
        """
        about = {"device": checkpoint.device, "history": [asdict(epoch) for epoch in checkpoint.history]}
        arrays = {**checkpoint.arrays, "about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
        self._write(_path(key, CHECKPOINT), safetensors.numpy.save(arrays))

    def read_checkpoint(self, key: str) -> Checkpoint | None:
        """The checkpoint of a stage; None if there is none that can be read."""
        try:
            arrays = safetensors.numpy.load(self.root.read(_path(key, CHECKPOINT)))
            about = json.loads(arrays.pop("about").tobytes())
            return Checkpoint(arrays, tuple(Epoch(**epoch) for epoch in about["history"]), about["device"])
        except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError):
            return None

    def stage_keys(self) -> list[str]:
        """All completed stages."""
        return sorted(self.completed((self.root / "stages").names()))

    def write_failure(self, key: str, text: str) -> str:
        """Write the traceback of a failed stage, and return its location."""
        path = f"failures/{key}.txt"
        self._write(path, text.encode())
        return f"{self.root}/{path}"

    def write_experiment(self, name: str, description: dict[str, Any]) -> None:
        """Record an experiment's configuration, so that its report can be made at any time.

        Earlier ones are kept: drivers that each run a part of an experiment do not overwrite each other's.

        Raises:
            StoreError: the store cannot be written.
        """
        content = json.dumps(description, indent=2).encode()
        part = hashlib.sha256(content).hexdigest()[:16]
        for path in (f"experiments/{name}/{part}.json", f"experiments/{name}.json"):
            self._write(path, content)

    def read_experiment(self, name: str) -> dict[str, Any]:
        """The configuration with which an experiment last ran.

        Raises:
            StoreError: there is none of that name.
        """
        path = f"experiments/{name}.json"
        try:
            description: dict[str, Any] = json.loads(self.root.read(path))
        except FileNotFoundError:
            raise StoreError(f"Storage {self.location} holds no experiment '{name}'; {self._instead(name)}") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.root}/{path} is damaged ({error}); run the experiment again.") from None
        return description

    def _instead(self, name: str) -> str:
        if name in self.searches():
            return (
                f"that is the name of a search: ifmmin ui {name} shows its trials, and --best-of {name} uses its best."
            )
        known = self.experiments()
        return nearest(name, known) if known else "run it first with ifmmin run, or name another store with --storage."

    def read_parts(self, name: str) -> list[dict[str, Any]]:
        """All configurations with which an experiment of that name ever ran; those that cannot be read are left out."""
        folder, parts = self.root / "experiments" / name, []
        for file in folder.names():
            with suppress(OSError, ValueError):
                parts.append(json.loads(folder.read(file)))
        return parts

    def write_status(self, name: str, status: dict[str, Any]) -> None:
        """Write the status of an experiment's driver.

        Raises:
            StoreError: the store cannot be written.
        """
        self._write(f"status/{name}.json", json.dumps(status).encode())

    def read_status(self, name: str) -> dict[str, Any] | None:
        """The status that an experiment's driver wrote last, or None."""
        try:
            status: dict[str, Any] = json.loads(self.root.read(f"status/{name}.json"))
        except (OSError, ValueError):
            return None
        return status

    def write_search(self, name: str, record: dict[str, Any]) -> None:
        """Write the record of a search.

        Raises:
            StoreError: the store cannot be written.
        """
        self._write(f"searches/{name}.json", json.dumps(record, indent=2).encode())

    def read_search(self, name: str) -> dict[str, Any] | None:
        """The record of a search, or None if no search has that name.

        Raises:
            StoreError: its record is damaged.
        """
        path = f"searches/{name}.json"
        try:
            record: dict[str, Any] = json.loads(self.root.read(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.root}/{path} is damaged ({error}); delete it and search again.") from None
        return record

    def searches(self) -> list[str]:
        """Names of the searches that were started."""
        return self._documents("searches")

    def write_report(self, name: str, files: Mapping[str, bytes], identity: str) -> None:
        """Keep the files of an experiment's report, by relative path.

        Args:
            identity: which report this is, see `report_identity`.

        Raises:
            StoreError: the store cannot be written.
        """
        for path, content in {**files, "identity": identity.encode()}.items():
            self._write(f"reports/{name}/{path}", content)

    def write_search_report(self, name: str, files: Mapping[str, bytes]) -> None:
        """Keep the files of a search's report, by relative path, beside its record.

        Raises:
            StoreError: the store cannot be written.
        """
        for path, content in files.items():
            self._write(f"searches/{name}/{path}", content)

    def report_identity(self, name: str) -> str | None:
        """The identity of an experiment's report in the store."""
        try:
            return self.root.read(f"reports/{name}/identity").decode()
        except OSError:
            return None

    def report_location(self, name: str) -> str:
        """The location of the page of an experiment's report."""
        return f"{self.location}/reports/{name}/report.html"

    def experiments(self) -> list[str]:
        """Names of the experiments that ran."""
        return self._documents("experiments")

    def _documents(self, folder: str) -> list[str]:
        names = (self.root / folder).names()
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]

    def _write(self, path: str, content: bytes | pa.Buffer) -> None:
        try:
            self.root.write(path, content)
        except OSError as error:
            raise StoreError(
                f"{self.root}/{path} cannot be written ({reason(error)}); free space, or choose another --storage."
            ) from None

    def _damaged(self, key: str, path: str, error: Exception) -> StoreError:
        return StoreError(f"{self.root}/{path} is damaged ({reason(error)}); delete the folder {key} and run again.")


def _path(key: str, file: str) -> str:
    return f"stages/{key}/{file}"
