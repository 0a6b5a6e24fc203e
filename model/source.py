"""A hash of the source that a result comes from: a module and what it imports of `ifmmin.model` and `ifmmin.data`.

Comments, docstrings and formatting do not count. Nothing is imported: files are parsed.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from ifmmin.data.errors import UserError

_ROOT = Path(__file__).parents[1]
PACKAGES = ("ifmmin.model", "ifmmin.data")
_IGNORED = {"ctx", "kind", "type_comment", "type_params"}


def source_hash(modules: Iterable[str]) -> str:
    """The hash of these modules and of all that they import of `PACKAGES`, directly or not; 16 hexadecimal digits.

    Args:
        modules: dotted names, such as `ifmmin.model.training`.
    """
    text = "\n".join(f"{module} {_content(module)[0]}" for module in sorted(reached_modules(modules)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reached_modules(modules: Iterable[str]) -> set[str]:
    """These modules and all that they import of `PACKAGES`, directly or not."""
    reached: set[str] = set()
    left = list(modules)
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left += _content(module)[1]
    return reached


def normalised(source: str) -> str:
    r"""The syntax tree of a program as text, the same whatever its comments, docstrings and formatting.

    >>> normalised("x = f(1,  2)  # why") == normalised("x = f(\n    1,\n    2,\n)")
    True
    """
    return "".join(_write(_without_docstrings(ast.parse(source))))


@cache
def _content(module: str) -> tuple[str, tuple[str, ...]]:
    """The hash of one module's normalised source, and the modules of `PACKAGES` that it imports."""
    source = source_file(module).read_text(encoding="utf-8")
    return hashlib.sha256(normalised(source).encode()).hexdigest(), tuple(_imports(ast.parse(source)))


def source_file(module: str) -> Path:
    """The file of a module, by its dotted name.

    Raises:
        UserError: the module has no file, as the cells of a notebook have none.
    """
    if not module.startswith("ifmmin."):  # a system from elsewhere, which has been imported
        file = getattr(sys.modules[module], "__file__", None)
        if file is None:
            raise UserError(f"A system is defined in {module}, which is not a file; write it to a file and import it.")
        return Path(file)
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in within if name.startswith(PACKAGES) and source_file(name).is_file()]
            names = modules if len(modules) == len(within) else [node.module, *modules]
        yield from (name for name in names if name.startswith(PACKAGES))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A string that stands alone, after an assignment too, documents and computes nothing.
            node.body = [part for part in node.body if not _is_text(part)]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _write(value: object) -> Iterator[str]:
    """Like `ast.dump`, whose form changes from one version of Python to the next."""
    if isinstance(value, ast.AST):
        yield f"{type(value).__name__}("
        for name, content in ast.iter_fields(value):
            if name not in _IGNORED and content is not None and content != []:
                yield f"{name}="
                yield from _write(content)
        yield ")"
    elif isinstance(value, list):
        yield "["
        for item in value:
            yield from _write(item)
            yield ","
        yield "]"
    else:
        yield repr(value)
