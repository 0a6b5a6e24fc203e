"""Programs of systems from outside the package: their text is read once, travels as data, and is loaded from there.

A process that computes with such a system never reads its file: the driver, Ray's workers, a later `report` and a
served model all load the same text. No PyTorch here.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from ifmmin.data.errors import UserError
from ifmmin.data.paths import expand
from ifmmin.model.source import PACKAGES, normalised, source_file, source_hash

ENTRY_POINTS = "ifmmin.systems"
"""The group of entry points by which installed distributions add systems."""

_PREFIX = "ifmmin_program_"
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Program:
    """The text of a module that defines a system, and of the local modules that it imports.

    Attributes:
        module: dotted name of the module.
        attribute: the name of the system in it; empty for the only one.
        texts: of every module by its dotted name.
        packages: which of them are packages.
    """

    module: str
    attribute: str
    texts: Mapping[str, str]
    packages: tuple[str, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Program":
        """The program from the output of `content`."""
        return cls(**{**content, "packages": tuple(content["packages"])})

    @property
    def content(self) -> dict[str, Any]:
        """The program as values that JSON can hold."""
        return asdict(self)

    @property
    def file(self) -> str:
        """The file of its module, relative to the folder in which imports begin."""
        return self.file_of(self.module)

    def file_of(self, module: str) -> str:
        """The file of one of its modules, likewise."""
        path = module.replace(".", "/")
        return f"{path}/__init__.py" if module in self.packages else f"{path}.py"

    @property
    def identity(self) -> str:
        """A hash of the text; 16 hexadecimal digits."""
        return _hash([self.module, *(f"{name} {text}" for name, text in sorted(self.texts.items()))])

    def version(self, modules: Sequence[str] = ()) -> str:
        """A hash of what its results come from; comments, docstrings and formatting do not count.

        Args:
            modules: of `ifmmin`, besides those that it imports.
        """
        texts = (f"{name} {normalised(text)}" for name, text in sorted(self.texts.items()))
        return _hash([*texts, source_hash([*modules, *self.imported_modules()])])

    def imported_packages(self) -> set[str]:
        """The top-level packages that it imports, besides its local modules."""
        return {name.partition(".")[0] for name in self._imported() if name not in self.texts}

    def imported_modules(self) -> set[str]:
        """The modules of `ifmmin.model` and `ifmmin.data` that it imports."""
        return {name for name in self._imported() if name.startswith(PACKAGES) and source_file(name).is_file()}

    def _imported(self) -> Iterator[str]:
        for module, text in self.texts.items():
            yield from _imported(ast.parse(text), module, is_package=module in self.packages)


def is_program(name: str) -> bool:
    """Whether a name of a system is that of a file, or of a module with what is in it."""
    return name.endswith(".py") or any(sign in name for sign in ":/\\")


def entry_points() -> dict[str, str]:
    """The systems of installed distributions: `package.module:SYSTEM` by name."""
    return {point.name: point.value.replace(" ", "") for point in metadata.entry_points(group=ENTRY_POINTS)}


def read_program(name: str) -> Program:
    """The program of a system that is named as `./mine.py`, `./mine.py:SYSTEM` or `package.module:SYSTEM`.

    Raises:
        UserError: there is no such file or module, or it is not valid Python.
    """
    where, attribute = _split(name)
    if where.endswith(".py") or "/" in where or "\\" in where:
        file = Path(expand(where))
        if not file.is_file():
            raise UserError(f"There is no file {where} (in {Path.cwd()}); correct the path that --systems names.")
        root, module = _place(file.absolute())
        return _gather(root, module, attribute, {module: file})
    for folder in (str(Path.cwd()), *sys.path):
        root = Path(folder or ".")
        if _file(root, where) is not None:
            return _gather(root, where, attribute, {})
    raise UserError(
        f"There is no module {where} in this folder or on Python's path, which --systems names; name a file as "
        f"./{where.rpartition('.')[2]}.py, or install its package."
    )


def load_module(program: Program) -> ModuleType:
    """The module of a program, executed from its text; once in a process.

    Raises:
        UserError: it raises an error.
    """
    root = f"{_PREFIX}{program.identity}"
    if root not in _PROGRAMS.programs:
        _PROGRAMS.programs[root] = program
    if _PROGRAMS not in sys.meta_path:
        sys.meta_path.append(_PROGRAMS)
    try:
        return import_module(f"{root}.{program.module}")
    except UserError:
        raise
    except Exception as error:
        line = _line_of(error, root)
        reason = f"{type(error).__name__}: {error}".splitlines()[0].replace(f"{root}.", "")
        raise UserError(f"{program.file} cannot be loaded{line} ({reason}); correct it.") from error


def is_loaded_from_text(module: str) -> bool:
    """Whether a module, by its name in this process, belongs to a program."""
    return module.startswith(_PREFIX)


class _Programs(MetaPathFinder):
    """Finds the modules of programs: each program is a package of its own, so that none meets another's modules."""

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        root, _, name = fullname.partition(".")
        program = self.programs.get(root)
        if program is None or (name and name not in program.texts):
            return None
        return spec_from_loader(fullname, _Loader(program), is_package=not name or name in program.packages)


_PROGRAMS = _Programs()


class _Loader(InspectLoader):
    """Loads the modules of one program; tracebacks show their lines."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def get_source(self, fullname: str) -> str:
        return self._program.texts.get(fullname.partition(".")[2], "")

    def is_package(self, fullname: str) -> bool:
        name = fullname.partition(".")[2]
        return not name or name in self._program.packages

    def get_code(self, fullname: str) -> Any:
        root, _, name = fullname.partition(".")
        tree = _Renaming(root, self._program).visit(ast.parse(self.get_source(fullname)))
        return compile(ast.fix_missing_locations(tree), self._program.file_of(name) if name else root, "exec")


class _Renaming(ast.NodeTransformer):
    """Makes a program's absolute imports of its modules those of the package that it is loaded as."""

    def __init__(self, root: str, program: Program) -> None:
        self._root, self._local = root, program.texts

    def visit_Import(self, node: ast.Import) -> Any:
        statements: list[ast.stmt] = []
        for alias in node.names:
            if alias.name not in self._local:
                statements.append(ast.Import([alias]))
                continue
            renamed = f"{self._root}.{alias.name}"
            statements.append(ast.Import([ast.alias(renamed, alias.asname)]))
            if alias.asname is None:
                top = alias.name.partition(".")[0]
                statements.append(ast.ImportFrom(self._root, [ast.alias(top)], 0))
        return [ast.copy_location(statement, node) for statement in statements]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.level == 0 and node.module in self._local:
            node.module = f"{self._root}.{node.module}"
        return node


def _split(name: str) -> tuple[str, str]:
    """The file or module, and the name in it; that of a drive is part of the path."""
    where, colon, attribute = name.rpartition(":")
    return (where, attribute) if colon and attribute.isidentifier() else (name, "")


def _place(file: Path) -> tuple[Path, str]:
    """The folder in which imports begin, and the dotted name of a file's module from there."""
    name, folder = [re.sub(r"\W", "_", file.stem)], file.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        name.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(name)


def _gather(root: Path, module: str, attribute: str, files: dict[str, Path]) -> Program:
    """The program of a module with all modules below the folder `root` that it imports.

    Args:
        files: of modules whose file is known.
    """
    texts: dict[str, str] = {}
    packages: set[str] = set()
    left = [module]
    while left:
        name = left.pop()
        if name in texts or not _may_be_local(name, module, root):
            continue
        file = files.get(name) or _file(root, name)
        if file is None:
            continue
        for parent in _parents(name):
            left.append(parent)
            if _file(root, parent) is None:  # a folder without __init__.py
                texts[parent] = ""
                packages.add(parent)
        texts[name] = _read(file)
        if file.name == "__init__.py":
            packages.add(name)
        left += _imported(_parsed(texts[name], file), name, is_package=name in packages)
    return Program(module, attribute, dict(sorted(texts.items())), tuple(sorted(packages)))


def _may_be_local(name: str, module: str, root: Path) -> bool:
    """Whether a module of this name beside a program is part of it; of what is installed its own package alone is."""
    top = name.partition(".")[0]
    if top == "ifmmin":
        return False
    return root.name not in _INSTALLED or top == module.partition(".")[0]


def _file(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return None


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as Python ({error}); correct it.") from None


def _parsed(text: str, file: Path) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{file}{line} is not valid Python ({getattr(error, 'msg', error)}); correct it.") from None


def _imported(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """The names of all modules that a module may import, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            here = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*here, *([node.module] if node.module else [])])
            if base:
                yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _line_of(error: BaseException, root: str) -> str:
    """The line of a program at which an error was raised, as part of a sentence."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith(root):
            line = f" at line {trace.tb_lineno} of {trace.tb_frame.f_code.co_filename}"
        trace = trace.tb_next
    return line
