"""A folder on this machine or in a bucket, with the few file operations that corpora and results need."""

import os
import textwrap
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from ifmmin.data.errors import UserError
from ifmmin.data.paths import expand

_LOCAL = LocalFileSystem()
_MANY = 20


class FolderError(UserError):
    """A folder or bucket has an invalid location, or cannot be reached."""


class Folder:
    """Files below one path or URI, named by paths relative to it.

    It holds its location and nothing else, so it can be sent to other processes; each takes the credentials for a
    bucket from its environment.
    """

    def __init__(self, location: "str | Path | Folder", *below: str) -> None:
        """Refer to a folder, which is created when something is written; `~` and `$NAME` are expanded.

        Raises:
            PathError: the location names a variable or user that there is not.
            FolderError: the location is not a valid path or URI, or contains a password.
        """
        if isinstance(location, Folder):
            fs, path, shown = location._fs, location._path, location._shown
        else:
            fs, path, shown = _resolve(str(location))
        self._fs: FileSystem = fs
        self._path: str = "/".join([path, *below])
        self._shown: str = "/".join([shown, *below])

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self, name)

    def __str__(self) -> str:
        """The location as messages show it, without the options of a URI."""
        return self._shown

    @property
    def local(self) -> bool:
        """Whether it is a path in the file system (which several machines may share)."""
        return isinstance(self._fs, LocalFileSystem)

    def names(self) -> list[str]:
        """Names of the files and folders directly in it, sorted; none if the folder does not exist.

        Raises:
            FolderError: it cannot be read.
        """
        with self._readable():
            infos = self._fs.get_file_info(FileSelector(self._path, allow_not_found=True))
        return sorted(info.base_name for info in infos)

    def present(self, names: Iterable[str]) -> set[str]:
        """Those of these files that exist.

        Raises:
            FolderError: the folder cannot be read.
        """
        paths = {f"{self._path}/{name}": name for name in names}
        with self._readable():
            if self.local or len(paths) < _MANY:
                infos = self._fs.get_file_info(list(paths))
            else:  # a bucket takes a request for each file, but lists a thousand in one
                infos = self._fs.get_file_info(FileSelector(self._path, allow_not_found=True, recursive=True))
        return {paths[info.path] for info in infos if info.type == FileType.File and info.path in paths}

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: it is missing, or cannot be read.
        """
        with self._fs.open_input_stream(f"{self._path}/{name}") as stream:
            content: bytes = stream.read()
        return content

    def map(self, name: str) -> pa.NativeFile:
        """A file for random access, mapped into memory if it is local.

        Raises:
            OSError: it is missing, or cannot be read.
        """
        path = f"{self._path}/{name}"
        return pa.memory_map(path) if self.local else self._fs.open_input_file(path)

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file atomically: readers see all of it or nothing.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        with self.create(name) as stream:
            stream.write(content)

    @contextmanager
    def create(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream into a file that appears, complete, when the context ends without an error.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        path = f"{self._path}/{name}"
        if not self.local:
            with self._fs.open_output_stream(path) as stream:
                yield stream
            return
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        try:
            with self._open_local(partial) as stream:
                yield stream
            self._fs.move(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def _open_local(self, path: str) -> pa.NativeFile:
        try:
            return self._fs.open_output_stream(path)
        except FileNotFoundError:
            self._fs.create_dir(path.rpartition("/")[0], recursive=True)
            return self._fs.open_output_stream(path)

    def delete(self, name: str) -> None:
        """Delete a file, if it exists.

        Raises:
            OSError: it cannot be deleted.
        """
        if self.present([name]):
            self._fs.delete_file(f"{self._path}/{name}")

    def delete_all(self) -> None:
        """Delete the folder and everything in it, if it exists.

        Raises:
            OSError: it cannot be deleted.
        """
        if self._fs.get_file_info(self._path).type == FileType.Directory:
            self._fs.delete_dir(self._path)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FolderError(f"{self} cannot be read ({reason(error)}); check its location and permissions.") from None


def reason(error: Exception) -> str:
    """The message of the operating system or bucket, on one line."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else textwrap.shorten(str(error).splitlines()[0], 240)


def _resolve(location: str) -> tuple[FileSystem, str, str]:
    """The file system, the path on it, and the location as messages show it."""
    location = expand(location)
    if "://" not in location:
        return _LOCAL, str(Path(location).absolute()), location
    parts = urlsplit(location)
    shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}".rstrip("/")
    if parts.username or parts.password:
        raise FolderError(
            f"Storage {shown} contains a user or password, which others could see; set credentials in the "
            "environment instead (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS)."
        )
    try:
        fs, path = pyarrow.fs.FileSystem.from_uri(location)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FolderError(
            f"Storage {shown} is not a usable folder or URI ({reason(error)}); use a path, s3://… or gs://…."
        ) from None
    return fs, path.rstrip("/"), shown


Location = str | Path | Folder
