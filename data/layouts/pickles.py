"""Reading a pickle as data: nothing that it names is imported or called.

A pickle is a program that may call any function by its name. Here a name is
looked up in a table, whose entries build arrays, numbers and containers from
plain values and check their arguments; every other name is refused. No class
or function of Python or NumPy can be reached from a pickle, so that it can
neither call one nor change one.
"""

import gzip
import io
import math
import pickle
import re
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.arrays import is_text_or_number
from ifmmin.data.layouts.files import check_file


def read_pickle(file: Path) -> Any:
    """The content of a pickle, which may be compressed by gzip; dictionaries of any kind become plain ones.

    Raises:
        CorpusError: the file is missing or damaged, or contains more than data.
    """
    try:
        compressed = check_file(file, "gzip") == "gzip"
        with (
            gzip.open(file) if compressed else file.open("rb") as stream,
            warnings.catch_warnings(action="ignore"),
            redirect_stderr(io.StringIO()),  # Python prints there if a damaged length is too long for a bytearray
        ):
            content = _DataOnly(stream, encoding="latin1").load()
            if compressed:
                stream.read()  # to the checksum at the end
            return content
    except CorpusError:
        raise
    except _RefusedError as error:
        raise CorpusError(f"{file} contains {error}.") from None
    except FileNotFoundError:
        raise CorpusError(f"{file} is missing; check the path.") from None
    except EOFError:
        raise CorpusError(f"{file} is not a readable pickle (it is truncated); download it again.") from None
    except Exception as error:  # damaged bytes can raise almost anything
        what = (str(error) or type(error).__name__).splitlines()[0]
        raise CorpusError(f"{file} is not a readable pickle ({what}); download it again.") from None


class _RefusedError(Exception):
    pass


def _refuse(name: str) -> NoReturn:
    raise _RefusedError(f"{name}, which is not data and may be malicious; download the file from its source")


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2
        module = module.replace("numpy._core", "numpy.core")  # before and since NumPy 2
        if (module, name) in ADMITTED:
            return ADMITTED[module, name]
        package = module.partition(".")[0]
        if package in ("pandas", "torch"):
            raise _RefusedError(
                f"objects of {package} ({module}.{name}), which are not read; save NumPy arrays in a pickle instead"
            )
        return _refuse(f"{module}.{name}")


class _Builder:
    """What stands for a function that a pickle may call; without a dictionary, so that a pickle cannot change it."""

    __slots__ = ("_build",)
    _build: Callable[..., Any]

    def __init__(self, build: Callable[..., Any]) -> None:
        object.__setattr__(self, "_build", build)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        _refuse(f"a change of {name}")

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)


class _Type:
    """What stands for a class that a pickle may name, as the factory of a defaultdict, but not call."""

    __slots__ = ("_name",)
    _name: str

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        _refuse(f"a change of {self._name}")

    def __call__(self, *_: object) -> NoReturn:
        _refuse(f"a call of {self._name}")


class _DataType:
    """A NumPy dtype of plain numbers or text."""

    __slots__ = ("_code",)

    def __init__(self, code: str) -> None:
        self._code = code

    def __setstate__(self, state: Any) -> None:
        order, (subtype, names, fields) = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or not subtype is names is fields is None:
            _refuse("a structured dtype of NumPy")
        self._code = order + self._code.lstrip("<>|=")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._code)


class _Array(np.ndarray[Any, Any]):
    """An array that is filled from the state that a pickle holds of it."""

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, data = state[-4:]
        dtype, size = _of(kind), math.prod(_checked(shape))
        if dtype.hasobject and not (isinstance(data, list) and len(data) == size):
            _refuse("an array of objects without them")
        super().__setstate__((1, shape, dtype, bool(fortran), data))  # type: ignore[arg-type]
        _check_text(self)


CODE = re.compile(r"[<>|=]?(b1|\?|[iufc]\d{1,2}|[SUa]\d{1,6}|O[48]?)")
"""Types of numbers, text, and Python objects, as pickles write them."""


def _make_dtype(code: Any, *_: Any) -> _DataType:
    code = code.decode("latin1") if isinstance(code, bytes) else code
    if not isinstance(code, str) or not CODE.fullmatch(code):
        _refuse(f"the dtype {code} of NumPy")
    return _DataType(re.sub("O[48]", "O", code).replace("a", "S"))


def _of(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, _DataType):
        _refuse("an array without a dtype")
    return kind.dtype


def _checked(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(isinstance(length, int) and length >= 0 for length in shape):
        _refuse(f"an array of the shape {shape}")
    return shape


def _check_text(array: NDArray[Any]) -> None:
    if not is_text_or_number(array):
        raise ValueError("it has text that is not Unicode")


def _make_array(_type: object, shape: Any, _code: Any) -> _Array:
    if shape not in ((0,), [0]):
        _refuse("an array without its values")
    return _Array((0,), np.int8)


def _make_array_from_buffer(
    buffer: Any, kind: Any, shape: Any, order: str, axes: tuple[int, ...] | None = None
) -> NDArray[Any]:
    array: NDArray[Any] = np.frombuffer(buffer, _of(kind))
    _check_text(array)
    if order == "K" and axes is not None:
        return array.reshape(_checked(shape)).transpose(axes)
    return array.reshape(_checked(shape), order="F" if order == "F" else "C")


def _make_scalar(kind: Any, data: Any = b"") -> Any:
    dtype = _of(kind)
    data = data.encode("latin1") if isinstance(data, str) else data
    if not dtype.itemsize:
        return dtype.type()
    array = np.frombuffer(data, dtype)
    _check_text(array)
    return array[0]


def _make_bytes(text: str = "", encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        _refuse(f"text in {encoding} for bytes")
    return text.encode("latin1")


def _make_bytearray(data: Any = b"", *encoding: str) -> bytearray:
    return bytearray(_make_bytes(data, *encoding) if isinstance(data, str) else memoryview(data))


def _make_dictionary(entries: Any = ()) -> dict[Any, Any]:
    return dict(entries)


def _make_default_dictionary(_factory: object = None, entries: Any = ()) -> dict[Any, Any]:
    return dict(entries)


FACTORIES = ("bool", "dict", "float", "int", "list", "long", "str", "tuple", "unicode")
"""Types by which a defaultdict makes its values, in Python 2 and 3."""

ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Type("numpy.ndarray"),
    ("numpy", "dtype"): _Builder(_make_dtype),
    ("numpy.core.multiarray", "_reconstruct"): _Builder(_make_array),
    ("numpy.core.multiarray", "scalar"): _Builder(_make_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Builder(_make_array_from_buffer),
    ("_codecs", "encode"): _Builder(_make_bytes),  # how Python 3 writes bytes for Python 2
    ("builtins", "bytes"): _Builder(_make_bytes),  # the same for no bytes at all
    ("builtins", "bytearray"): _Builder(_make_bytearray),
    ("builtins", "set"): _Builder(lambda entries=(): set(entries)),
    ("builtins", "frozenset"): _Builder(lambda entries=(): frozenset(entries)),
    ("collections", "OrderedDict"): _Builder(_make_dictionary),
    ("collections", "defaultdict"): _Builder(_make_default_dictionary),
    **{("builtins", name): _Type(f"builtins.{name}") for name in FACTORIES},
}
"""What a pickle may name, by module and name, and what stands for it."""
