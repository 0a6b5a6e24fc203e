"""The import package: a wheel holds `ifmmin` alone, and it works in a folder full of modules with common names."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import write_corpus
from tests.commandline import completed
from tests.small import make_corpus

ROOT = Path(__file__).parents[1]
FOLDERS = ("data", "model", "orchestrator")
SOURCES = ("ifmmin", *FOLDERS, "pyproject.toml", "README.md", "LICENSE")
ANOTHER_PROJECT = ("model.py", "data/__init__.py", "orchestrator.py", "tests/__init__.py")


def test_no_module_imports_the_folders_by_their_old_names() -> None:
    files = [file for folder in (*FOLDERS, "ifmmin", "tests") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    old = {str(file.relative_to(ROOT)) for file in files if imported_names(file) & set(FOLDERS)}
    assert old == set()


def imported_names(file: Path) -> set[str]:
    """The top-level names of the packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.slow  # pip and setuptools copy and compress the package
def test_a_wheel_holds_the_package_alone_and_all_of_it(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, checkout / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, checkout)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(checkout)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        str(Path("ifmmin", file.relative_to(ROOT)))
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert names == expected | {f"ifmmin/{file}" for file in ("__init__.py", "__main__.py", "py.typed")}


@pytest.mark.slow  # an experiment, with the start of Ray
def test_it_works_in_the_folder_of_another_project(tmp_path: Path) -> None:
    write_corpus(make_corpus(), folder_for("small", tmp_path / "ifmmin-store"))
    for name in ANOTHER_PROJECT:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise ImportError('a module of another project')")
    (tmp_path / "ifmmin.yaml").write_text("not: ours")
    assert "small" in call(tmp_path, "data", "list")
    call(tmp_path, "run", "demo", "--corpus", "small", "--folds", "1", "--set", "epochs=1")
    assert len(completed(tmp_path)) == 3


def call(folder: Path, *arguments: str) -> str:
    """The output of a command whose path begins with this folder: `-m` puts it there, and so does PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    result = subprocess.run(
        [sys.executable, "-m", "ifmmin", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
