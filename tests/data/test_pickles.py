"""The reader of pickles: data in every form comes out; nothing else that a pickle names is imported or called."""

import collections
import functools
import gzip
import operator
import os
import pickle
import subprocess
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.pickles import read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def write(folder: Path, content: object, protocol: int = 4) -> Path:
    file = folder / "x.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    return file


def refusal(file: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        read_pickle(file)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


ARRAYS = [
    *(
        np.arange(12).reshape(2, 3, 2).astype(kind)
        for kind in ("f2", "<f4", ">f4", "f8", ">f8", "i4", ">i8", "u1", "?")
    ),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    np.array(["é", "bc"]),
    np.array([b"\xff\x00x", b"y"]),
    np.zeros(0),
    np.zeros((3, 0, 2), np.float32),
    np.array(3.5),
    np.array([1, "a", None], dtype=object),
    np.arange(4000.0)[::2],
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str} {array.shape}")
def test_an_array_is_read_as_it_was_written(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    read = read_pickle(write(tmp_path, {"x": array}, protocol))["x"]
    assert read.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert read.shape == array.shape
    assert read.tolist() == array.tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "scalar", [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("é"), np.str_(""), np.bytes_(b"x")]
)
def test_a_numpy_scalar_is_read_as_it_was_written(tmp_path: Path, scalar: Any, protocol: int) -> None:
    read = read_pickle(write(tmp_path, [scalar], protocol))[0]
    assert read == scalar
    assert isinstance(read, np.generic)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_of_every_kind_are_data(tmp_path: Path, protocol: int) -> None:
    factories: tuple[Any, ...] = (bool, dict, float, int, list, set, str, tuple, OrderedDict, None)
    content = {
        "ordered": OrderedDict(b=1, a=OrderedDict()),
        "default": [defaultdict(factory, {"k": [1]}) for factory in factories],
        "plain": [
            {1, 2},
            frozenset("ab"),
            b"",
            b"\xff",
            bytearray(b"\x00\xff"),
            bytearray(),
            (1, 2.5, None, True, "é"),
        ],
    }
    read = read_pickle(write(tmp_path, content, protocol))
    assert read["ordered"] == {"b": 1, "a": {}}
    assert list(read["ordered"]) == ["b", "a"]
    assert read["default"] == [{"k": [1]}] * len(factories)
    assert read["plain"] == content["plain"]


def python_2(array: np.ndarray) -> bytes:
    """As Python 2 and an old NumPy have written an array: text for bytes, 0 and 1 for False and True."""
    data = "".join(f"\\x{byte:02x}" for byte in array.tobytes())
    return (
        "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        f"(I1\n(I{array.size}\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'{data}'\ntb."
    ).encode()


def test_an_array_of_python_2_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(python_2(np.array([1.0, -2.5])))
    assert read_pickle(tmp_path / "x.pkl").tolist() == [1.0, -2.5]


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_a_pickle_of_numpy_1_or_2_is_read(tmp_path: Path, module: str) -> None:
    file = write(tmp_path, np.arange(3.0), 2)
    file.write_bytes(file.read_bytes().replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", module.encode()))
    assert read_pickle(file).tolist() == [0, 1, 2]


def test_a_pickle_compressed_by_gzip_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.pkl"
    file.write_bytes(gzip.compress(pickle.dumps({"a": np.ones(3)})))
    assert read_pickle(file)["a"].tolist() == [1, 1, 1]
    file.write_bytes(file.read_bytes()[:-9])
    assert "truncated" in refusal(file)


class Runs:
    """What calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object, state: object = None) -> None:
        self._call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


HOSTILE = [
    (os.system, ("true",)),
    (subprocess.Popen, (["true"],)),
    (eval, ("1",)),
    (exec, ("1",)),
    (compile, ("1", "", "eval")),
    (open, ("/nowhere",)),
    (getattr, (str, "format")),
    (setattr, (Path, "x", 1)),
    (__import__, ("antigravity",)),
    (map, (len, [[1]])),
    (list, ("abc",)),
    (dict, ([(1, 2)],)),
    (tuple, ([1],)),
    (int, ("3",)),
    (str, (3,)),
    (type, ("X", (), {})),
    (object, ()),
    (np.ndarray, ((2,),)),
    (np.load, ("x", None, True)),
    (np.fromfile, ("x",)),
    (np.zeros, (3,)),
    (functools.partial, (len,)),
    (functools.partial, (defaultdict, list)),
    (operator.attrgetter, ("__class__",)),
    (collections.Counter, ({"a": 1},)),
    (collections.deque, ([1],)),
    (pickle.loads, (b"",)),
    (Path, ("x",)),
    (sys.exit, (0,)),
]


@pytest.mark.parametrize(("function", "arguments"), HOSTILE, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_call_of_anything_else_is_refused(
    tmp_path: Path, function: Callable[..., object], arguments: tuple[object, ...], protocol: int
) -> None:
    assert "which is not data" in refusal(write(tmp_path, {"x": Runs(function, *arguments)}, protocol))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "state", [{"__call__": 1}, (None, {"_build": 1}), (None, {"__class__": 1}), (None, {"_name": 1})], ids=str
)
@pytest.mark.parametrize("name", ["dtype", "ndarray"])
def test_what_a_pickle_may_name_cannot_be_changed(tmp_path: Path, name: str, state: object, protocol: int) -> None:
    body = pickle.dumps(state, protocol)[2:-1]
    if protocol == 4:
        body = body[9:]  # without its frame
    file = tmp_path / "x.pkl"
    file.write_bytes(bytes([0x80, protocol]) + f"cnumpy\n{name}\n".encode() + body + b"b.")
    refusal(file)
    assert read_pickle(write(tmp_path, np.ones(3))).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x02cbuiltins\nobject\n)\x81.",
        b"\x80\x02\x82\x01.",
        b"\x80\x04\x8c\x08builtins\x8c\x0dstr.__class__\x93.",
        b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        b"Pabc\n.",
        b"cnumpy\nndarray\n(I9\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I9\ntS'b'\ntR.",
        b"cnumpy\ndtype\n(S'V8'\ntR.",
        b"cnumpy\ndtype\n(S'f8,O'\ntR.",
        b"c_codecs\nencode\n(V00\nS'hex'\ntR.",
        b"cbuiltins\nbytes\n(I9999999999\ntR.",
        b"cbuiltins\nbytearray\n(I9999999999\ntR.",
        b"cbuiltins\nset\n(cbuiltins\nlist\ntR.",
    ],
)
def test_a_program_in_a_pickle_is_refused(tmp_path: Path, program: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(program)
    refusal(tmp_path / "x.pkl")


@pytest.mark.parametrize("shape", ["I-1\nI-2\n", "I3\n", "S'x'\n", "I99999999999\n"])
@pytest.mark.parametrize("kind", ["f8", "O"])
def test_an_array_whose_shape_does_not_fit_its_values_is_refused(tmp_path: Path, shape: str, kind: str) -> None:
    data = "(lN" + "a" if kind == "O" else "S'" + "x" * 16 + "'\n"
    program = (
        "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        f"(I1\n({shape}tcnumpy\ndtype\n(S'{kind}'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\n{data}tb."
    ).encode()
    (tmp_path / "x.pkl").write_bytes(program)
    refusal(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--0.pkl\n", "git annex get"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"\xef\xbb\xbf<HTML>", "is a web page"),
        (b"PK\x03\x04 torch", "is a ZIP file"),
        (b"\x89HDF\r\n\x1a\n", "is a HDF5 file"),
        (b"\x93NUMPY", "is a NumPy file"),
        (b"BZh9", "decompress it first"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "instead of tensors"),
        (b"id,label\n1,2\n", "not a readable pickle"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f", "not a readable pickle"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    assert expected in refusal(tmp_path / "x.pkl")


def test_a_damaged_length_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b"x.")
    assert "not a readable pickle" in refusal(tmp_path / "x.pkl")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
@pytest.mark.parametrize("value", [np.array(["abc"]), np.str_("abc")], ids=["array", "scalar"])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_text_that_is_not_unicode_is_refused(tmp_path: Path, value: object, code: int, protocol: int) -> None:
    file = write(tmp_path, [value], protocol)
    damaged = np.array([code, ord("b"), ord("c")], np.uint32).tobytes()
    file.write_bytes(file.read_bytes().replace(np.array(["abc"]).tobytes(), damaged))
    assert "not Unicode" in refusal(file)


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "is missing" in refusal(tmp_path / "none.pkl")


def test_objects_of_pandas_and_torch_are_named(tmp_path: Path) -> None:
    import pandas as pd
    import torch

    assert "objects of pandas" in refusal(write(tmp_path, {"x": pd.DataFrame({"a": [1]})}))
    assert "objects of torch" in refusal(write(tmp_path, {"x": torch.zeros(2)}))
