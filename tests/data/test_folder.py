"""Folders, local ones and those that stand for a bucket."""

from pathlib import Path

import pyarrow.fs
import pytest

from ifmmin.data.corpus import open_corpus, verify_corpus, write_corpus
from ifmmin.data.folder import Folder, FolderError, reason
from tests.small import make_corpus


@pytest.fixture(params=["local", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder; the bucket is one in memory, which other than a real one wants its folders created."""
    if request.param == "local":
        return Folder(tmp_path / "folder")
    bucket = Folder("mock:///bucket")
    assert isinstance(bucket._fs, pyarrow.fs.FileSystem)
    bucket._fs.create_dir("bucket/inner")
    return bucket


@pytest.mark.parametrize("count", [3, 30])
def test_what_is_written_is_listed_read_and_deleted(folder: Folder, count: int) -> None:
    names = [f"inner/{number}" for number in range(count)]
    for name in names:
        folder.write(name, name.encode())
    assert folder.names() == ["inner"]
    assert (folder / "inner").names() == sorted(map(str, range(count)))
    assert folder.present([*names, "inner", "other"]) == set(names)
    assert folder.read(names[1]) == b"inner/1"
    with folder.map(names[2]) as file:
        assert file.read_at(5, 2) == b"ner/2"
    folder.delete(names[0])
    folder.delete(names[0])
    assert folder.present(names) == set(names[1:])
    folder.delete_all()
    folder.delete_all()
    assert folder.names() == []


def test_a_corpus_is_written_to_a_bucket_and_read_again(folder: Folder) -> None:
    written = write_corpus(make_corpus(), folder / "inner")
    read = open_corpus(folder / "inner")
    verify_corpus(read)
    assert read.fingerprint == written.fingerprint


def test_a_local_file_that_is_not_written_to_its_end_is_not_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    def write_half() -> None:
        with folder.create("file") as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert folder.names() == []


def test_a_folder_that_cannot_be_read_is_reported_with_its_location(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for ask in (Folder(tmp_path / "file").names, lambda: Folder(tmp_path, "file" + "x" * 300).present(["name"])):
        with pytest.raises(FolderError, match=r"file.* cannot be read \(.*\); check its location"):
            ask()


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("s3://user:hush@bucket/place", "Storage s3://bucket/place contains a user or password"),
        ("nowhere://bucket/place", "Storage nowhere://bucket/place is not a usable folder or URI"),
    ],
)
def test_an_unusable_location_is_refused_without_its_password(location: str, message: str) -> None:
    with pytest.raises(FolderError) as caught:
        Folder(location)
    assert str(caught.value).startswith(message)
    assert "hush" not in str(caught.value)


def test_a_location_is_shown_without_the_options_of_its_uri() -> None:
    assert (
        str(Folder("s3://bucket/place?region=us-east-1&endpoint_override=here", "inner")) == "s3://bucket/place/inner"
    )


def test_the_reason_of_an_error_is_one_line_of_the_system() -> None:
    assert reason(FileNotFoundError(2, "in some call")) == "No such file or directory"
    assert reason(OSError("first line\nsecond line")) == "first line"
