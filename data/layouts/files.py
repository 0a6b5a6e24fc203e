"""What a file is when it is not what its name says: a pointer to the data, an error page, a folder, another format."""

from pathlib import Path

from ifmmin.data.errors import CorpusError

SIGNATURES = {
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"\x93NUMPY": "NumPy",
    b"PAR1": "Parquet",
    b"MATLAB 5.0": "MATLAB",
    b"\x80\x02\x8a\nl\xfc\x9c": "PyTorch",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"PK\x03\x04": "ZIP",
    b"PK\x05\x06": "ZIP",
}
"""How files of these formats begin."""

POINTERS = {
    b"version https://git-lfs": "is a Git LFS pointer and not the data; fetch the data with `git lfs pull`",
    b"/annex/objects": "is a git-annex pointer and not the data; fetch the data with `git annex get`",
}
HTML = (b"<!doctype html", b"<html", b"<?xml")
REMEDIES = {
    "ZIP": "extract it first; files of torch.save and np.savez are such archives too, so save plain arrays instead",
    "PyTorch": "save plain arrays instead of tensors",
    **dict.fromkeys(("gzip", "bzip2", "xz", "7-Zip"), "decompress it first"),
}
_ENOUGH = 512
"""Bytes from which a format is recognised."""


def check_file(file: Path, *kinds: str) -> str | None:
    """The format of a file by its first bytes, None if that is unknown.

    Args:
        kinds: formats of `SIGNATURES` that are right; one that is unknown always is.

    Raises:
        FileNotFoundError: the file is missing.
        CorpusError: it is a folder, empty, unreadable, a pointer, a web page, or has another format.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(_ENOUGH)
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise CorpusError(f"{file} is a folder, but must be a file; check the path.") from None
    except OSError as error:
        raise CorpusError(
            f"{file} cannot be read ({error.strerror}); check the path and the permissions of the file."
        ) from None
    if problem := _problem(head):
        raise CorpusError(f"{file} {problem}.")
    kind = next((kind for signature, kind in SIGNATURES.items() if head.startswith(signature)), None)
    if kind and kind not in kinds:
        raise CorpusError(f"{file} is a {kind} file by its content; {REMEDIES.get(kind, 'check the path')}.")
    return kind


def _problem(head: bytes) -> str | None:
    if not head:
        return "is empty; download or export it again"
    for start, problem in POINTERS.items():
        if head.startswith(start):
            return problem
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(HTML):
        return "is a web page, probably an error of the server, and not the data; download it again"
    return None
