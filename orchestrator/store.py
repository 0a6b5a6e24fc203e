"""The store: results of stages by key, and what each experiment asked for. A folder or bucket, reached by pyarrow.fs.

A stage is complete when its `stage.json` is there; that file is written last and atomically.
"""

import json
import platform
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import safetensors
import safetensors.numpy

from data.errors import UserError
from model.recipe import Weights
from orchestrator.plan import Stage
from orchestrator.stages import StageResult


class StoreError(UserError):
    """The store cannot be read or written, or something in it is damaged."""


class Store:
    """Results by stage key below one folder or URI. Holds no state but where it is, so it travels to workers."""

    def __init__(self, location: str | Path) -> None:
        """Name a store; nothing is created before something is written.

        Raises:
            StoreError: the location is no path or URI that is understood.
        """
        text = str(location)
        try:
            if "://" in text:
                self._fs, self._root = pyarrow.fs.FileSystem.from_uri(text)
            else:
                self._fs, self._root = pyarrow.fs.LocalFileSystem(), str(Path(text).absolute())
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(f"Storage {text} is no folder or URI that can be used: {error}.") from None
        self.location = text

    @property
    def folder(self) -> Path:
        """The store as a folder of this machine.

        Raises:
            StoreError: it is a bucket.
        """
        if not isinstance(self._fs, pyarrow.fs.LocalFileSystem):
            raise StoreError(f"Storage {self.location} is no folder of this machine, which this command needs.")
        return Path(self._root)

    def completed(self, keys: Iterable[str]) -> set[str]:
        """Those of these stages whose results are here."""
        keys = list(keys)
        infos = self._fs.get_file_info([self._path(key, "stage.json") for key in keys])
        return {key for key, info in zip(keys, infos, strict=True) if info.type == pyarrow.fs.FileType.File}

    def write_stage(self, stage: Stage, result: StageResult) -> None:
        """Keep the result of a stage; until this returns, the stage counts as not done.

        Raises:
            StoreError: the disk is full, or the store cannot be written.
        """
        record = {
            "stage": asdict(stage),
            "seconds": result.seconds,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        }
        if result.weights:
            weights = safetensors.numpy.save(dict(result.weights))
            self._write_bytes(self._path(stage.key, "weights.safetensors"), weights)
        for name, table in result.tables.items():
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression="zstd")
            self._write_bytes(self._path(stage.key, f"{name}.parquet"), sink.getvalue())
        self._write_bytes(self._path(stage.key, "stage.json"), json.dumps(record, indent=2).encode())

    def read_weights(self, key: str) -> Weights:
        """Weights of a completed stage.

        Raises:
            StoreError: they are missing or damaged.
        """
        path = self._path(key, "weights.safetensors")
        try:
            return dict(safetensors.numpy.load(self._read_bytes(path)))
        except (OSError, safetensors.SafetensorError) as error:
            raise self._damaged(key, path, error) from None

    def read_table(self, key: str, name: str) -> pa.Table:
        """`history` or `predictions` of a completed stage.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = self._path(key, f"{name}.parquet")
        try:
            return pq.read_table(pa.BufferReader(self._read_bytes(path)))
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(key, path, error) from None

    def read_record(self, key: str) -> dict[str, Any]:
        """What is known of a completed stage: `seconds`, `finished`, `machine`, and the `stage` itself.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = self._path(key, "stage.json")
        try:
            record: dict[str, Any] = json.loads(self._read_bytes(path))
        except (OSError, ValueError) as error:
            raise self._damaged(key, path, error) from None
        return record

    def stage_keys(self) -> list[str]:
        """All completed stages."""
        folder = pyarrow.fs.FileSelector(f"{self._root}/stages", allow_not_found=True)
        return sorted(self.completed(info.base_name for info in self._fs.get_file_info(folder)))

    def write_failure(self, key: str, text: str) -> str:
        """Keep the traceback of a failed stage, and return where."""
        path = f"{self._root}/failures/{key}.txt"
        self._write_bytes(path, text.encode())
        return path

    def write_experiment(self, name: str, description: dict[str, Any]) -> None:
        """Keep what an experiment asked for, so that its report can be made at any time.

        Raises:
            StoreError: the store cannot be written.
        """
        self._write_bytes(f"{self._root}/experiments/{name}.json", json.dumps(description, indent=2).encode())

    def read_experiment(self, name: str) -> dict[str, Any]:
        """What an experiment asked for when it last ran.

        Raises:
            StoreError: there is none of that name.
        """
        path = f"{self._root}/experiments/{name}.json"
        try:
            description: dict[str, Any] = json.loads(self._read_bytes(path))
        except FileNotFoundError:
            known = ", ".join(self.experiments()) or "none yet"
            raise StoreError(f"Storage {self.location} holds no experiment '{name}' (it holds: {known}).") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} is damaged ({error}); run the experiment again.") from None
        return description

    def write_search(self, name: str, record: dict[str, Any]) -> None:
        """Keep how far a search is.

        Raises:
            StoreError: the store cannot be written.
        """
        self._write_bytes(f"{self._root}/searches/{name}.json", json.dumps(record, indent=2).encode())

    def read_search(self, name: str) -> dict[str, Any] | None:
        """How far a search is, or None if there is none of that name.

        Raises:
            StoreError: its record is damaged.
        """
        path = f"{self._root}/searches/{name}.json"
        try:
            record: dict[str, Any] = json.loads(self._read_bytes(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} is damaged ({error}); delete it and search again.") from None
        return record

    def searches(self) -> list[str]:
        """Names of the searches that were begun."""
        folder = pyarrow.fs.FileSelector(f"{self._root}/searches", allow_not_found=True)
        return sorted(info.base_name.removesuffix(".json") for info in self._fs.get_file_info(folder))

    def write_report(self, name: str, files: Mapping[str, bytes], identity: str) -> None:
        """Keep the files of an experiment's report, by relative path.

        Args:
            identity: which report this is, see `report_identity`.

        Raises:
            StoreError: the store cannot be written.
        """
        for path, content in {**files, "identity": identity.encode()}.items():
            self._write_bytes(f"{self._root}/reports/{name}/{path}", content)

    def report_identity(self, name: str) -> str | None:
        """Which report of an experiment is kept here."""
        try:
            return self._read_bytes(f"{self._root}/reports/{name}/identity").decode()
        except OSError:
            return None

    def report_location(self, name: str) -> str:
        """Where the page of an experiment's report is."""
        return f"{self.location}/reports/{name}/report.html"

    def experiments(self) -> list[str]:
        """Names of the experiments that ran."""
        folder = pyarrow.fs.FileSelector(f"{self._root}/experiments", allow_not_found=True)
        return sorted(info.base_name.removesuffix(".json") for info in self._fs.get_file_info(folder))

    def _path(self, key: str, file: str) -> str:
        return f"{self._root}/stages/{key}/{file}"

    def _write_bytes(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write a whole file or none: readers never see a part of it."""
        local = isinstance(self._fs, pyarrow.fs.LocalFileSystem)
        target = f"{path}.{uuid.uuid4().hex}.partial" if local else path
        try:
            if local:
                self._fs.create_dir(str(Path(path).parent), recursive=True)
            with self._fs.open_output_stream(target) as stream:
                stream.write(content)
            if local:
                self._fs.move(target, path)
        except OSError as error:
            if local and Path(target).is_file():
                Path(target).unlink()
            raise StoreError(
                f"{path} cannot be written ({_reason(error)}); make room there, or choose another --storage."
            ) from None

    def _read_bytes(self, path: str) -> bytes:
        with self._fs.open_input_stream(path) as stream:
            content: bytes = stream.read()
        return content

    def _damaged(self, key: str, path: str, error: Exception) -> StoreError:
        return StoreError(f"{path} is damaged ({_reason(error)}); delete the folder {key} and run again.")


def _reason(error: Exception) -> str:
    """What the system said, without the calls it went through."""
    import os

    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error).splitlines()[0]
