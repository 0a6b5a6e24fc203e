"""The store: results of stages by key, and what each experiment asked for. A folder or bucket, reached by pyarrow.fs.

A stage is complete when its `stage.json` is there; that file is written last and atomically.
"""

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

from ifmmin.data.errors import UserError
from ifmmin.data.folder import Folder, reason
from ifmmin.model.history import Checkpoint, Epoch
from ifmmin.orchestrator.planning.stage import Stage, StageResult

if TYPE_CHECKING:
    from ifmmin.model.definition import Weights

CHECKPOINT = "checkpoint.safetensors"


class StoreError(UserError):
    """The store cannot be read or written, or something in it is damaged."""


class Store:
    """Results by stage key below one folder or URI. Holds no state but where it is, so it travels to workers."""

    def __init__(self, location: str | Path) -> None:
        """Name a store; nothing is created before something is written.

        Raises:
            UserError: the location is not a valid path or URI.
        """
        self.root = Folder(location)

    @property
    def location(self) -> str:
        """Where it is, for people."""
        return str(self.root)

    def completed(self, keys: Iterable[str]) -> set[str]:
        """Those of these stages whose results are here."""
        present = (self.root / "stages").present(f"{key}/stage.json" for key in keys)
        return {path.removesuffix("/stage.json") for path in present}

    def write_stage(self, stage: Stage, result: StageResult) -> None:
        """Keep the result of a stage; until this returns, the stage counts as not done.

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
        """What is known of a completed stage: `seconds`, `finished`, `machine`, and the `stage` itself.

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
        """Keep where the training of a stage stands, until the stage is done.

        Raises:
            StoreError: the store cannot be written.
        """
        about = {"device": checkpoint.device, "history": [asdict(epoch) for epoch in checkpoint.history]}
        arrays = {**checkpoint.arrays, "about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
        self._write(_path(key, CHECKPOINT), safetensors.numpy.save(arrays))

    def read_checkpoint(self, key: str) -> Checkpoint | None:
        """Where the training of a stage stands; None if there is no checkpoint, or none that can be read."""
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
        """Keep the traceback of a failed stage, and return where."""
        path = f"failures/{key}.txt"
        self._write(path, text.encode())
        return f"{self.root}/{path}"

    def write_experiment(self, name: str, description: dict[str, Any]) -> None:
        """Keep what an experiment asked for, so that its report can be made at any time.

        Raises:
            StoreError: the store cannot be written.
        """
        self._write(f"experiments/{name}.json", json.dumps(description, indent=2).encode())

    def read_experiment(self, name: str) -> dict[str, Any]:
        """What an experiment asked for when it last ran.

        Raises:
            StoreError: there is none of that name.
        """
        path = f"experiments/{name}.json"
        try:
            description: dict[str, Any] = json.loads(self.root.read(path))
        except FileNotFoundError:
            known = ", ".join(self.experiments()) or "none yet"
            raise StoreError(f"Storage {self.location} holds no experiment '{name}' (it holds: {known}).") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.root}/{path} is damaged ({error}); run the experiment again.") from None
        return description

    def write_status(self, name: str, status: dict[str, Any]) -> None:
        """Keep how far the driver of an experiment is.

        Raises:
            StoreError: the store cannot be written.
        """
        self._write(f"status/{name}.json", json.dumps(status).encode())

    def read_status(self, name: str) -> dict[str, Any] | None:
        """How far the driver of an experiment was when it last wrote that, or None if it has not yet."""
        try:
            status: dict[str, Any] = json.loads(self.root.read(f"status/{name}.json"))
        except (OSError, ValueError):
            return None
        return status

    def write_search(self, name: str, record: dict[str, Any]) -> None:
        """Keep how far a search is.

        Raises:
            StoreError: the store cannot be written.
        """
        self._write(f"searches/{name}.json", json.dumps(record, indent=2).encode())

    def read_search(self, name: str) -> dict[str, Any] | None:
        """How far a search is, or None if there is none of that name.

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
        """Names of the searches that were begun."""
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

    def report_identity(self, name: str) -> str | None:
        """Which report of an experiment is kept here."""
        try:
            return self.root.read(f"reports/{name}/identity").decode()
        except OSError:
            return None

    def report_location(self, name: str) -> str:
        """Where the page of an experiment's report is."""
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
                f"{self.root}/{path} cannot be written ({reason(error)}); make room there, or choose another --storage."
            ) from None

    def _damaged(self, key: str, path: str, error: Exception) -> StoreError:
        return StoreError(f"{self.root}/{path} is damaged ({reason(error)}); delete the folder {key} and run again.")


def _path(key: str, file: str) -> str:
    return f"stages/{key}/{file}"
