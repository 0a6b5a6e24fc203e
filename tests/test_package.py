"""The import package: a wheel holds `ifmmin` alone, and it works in a folder full of modules with common names."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import write_corpus
from ifmmin.orchestrator.tracking.client import context_tags
from ifmmin.version import package_version
from tests.commandline import completed
from tests.small import make_corpus

ROOT = Path(__file__).parents[1]
FOLDERS = ("data", "model", "orchestrator")
SOURCES = ("ifmmin", *FOLDERS, "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
TAGGED = "9.8.7"
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


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and a source distribution of this tree, as of a checkout with the tag v9.8.7."""
    pytest.importorskip("setuptools", minversion="77")
    pytest.importorskip("setuptools_scm")
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("distributions")
    checkout = copy_tree(folder / "checkout")
    git(checkout, "init", "--quiet")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "all")
    git(checkout, "tag", f"v{TAGGED}")
    build(checkout, folder / "dist")
    return folder / "dist"


def copy_tree(checkout: Path) -> Path:
    """A copy of the files of which the package is built, without git."""
    checkout.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout)
    return checkout


def git(checkout: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.org", "-c", "commit.gpgsign=false")
    succeed(["git", *identity, *arguments], checkout)


def build(checkout: Path, target: Path, *options: str) -> None:
    """Build a source distribution, and a wheel from that, with the setuptools of this environment."""
    succeed([sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(target), "."], checkout)


def succeed(command: list[str], folder: Path) -> str:
    """The output of a command that must not fail."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "GIT_"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def package_files() -> set[str]:
    """The files of the package, by their place in a distribution."""
    files = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*"))
    kept = {f"ifmmin/{file.relative_to(ROOT)}" for file in files if file.is_file() and "__pycache__" not in file.parts}
    return kept | {f"ifmmin/{file}" for file in ("__init__.py", "__main__.py", "py.typed", "version.py")}


@pytest.mark.slow  # setuptools copies and compresses the package
def test_a_wheel_holds_the_package_alone_and_all_of_it(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == package_files()


@pytest.mark.slow  # see above
def test_a_source_distribution_holds_the_package_once(distributions: Path) -> None:
    (archive,) = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {file.name.partition("/")[2] for file in files if file.isfile()}
    assert {name for name in names if name.startswith("ifmmin/")} == package_files()
    assert not {name for name in names if name.startswith(FOLDERS)}


@pytest.mark.slow  # see above
def test_the_version_is_that_of_the_tag(distributions: Path, tmp_path: Path) -> None:
    assert {file.name for file in distributions.iterdir()} == {
        f"ifmmin-{TAGGED}.tar.gz",
        f"ifmmin-{TAGGED}-py3-none-any.whl",
    }
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as archive:
        archive.extractall(tmp_path)
    assert succeed([sys.executable, "-m", "ifmmin", "--version"], tmp_path) == f"ifmmin {TAGGED}\n"


@pytest.mark.slow  # setuptools copies and compresses the package
def test_files_without_git_are_built_without_a_version(tmp_path: Path) -> None:
    build(copy_tree(tmp_path / "copy"), tmp_path / "dist", "--sdist")
    assert [file.name for file in (tmp_path / "dist").iterdir()] == ["ifmmin-0.0.tar.gz"]


def test_files_that_were_not_installed_have_an_unknown_version(tmp_path: Path) -> None:
    shutil.copy(ROOT / "ifmmin" / "version.py", tmp_path)
    program = "import version; print(version.package_version())"
    assert succeed([sys.executable, "-S", "-c", program], tmp_path) == "0.0\n"


def test_the_version_is_printed_and_recorded_in_mlflow() -> None:
    printed = succeed([sys.executable, "-m", "ifmmin", "--version"], ROOT)
    assert printed == f"ifmmin {package_version()}\n"
    assert context_tags()["ifmmin.version"] == package_version()


@pytest.mark.slow  # an experiment, with the start of Ray
def test_it_works_in_the_folder_of_another_project(tmp_path: Path) -> None:
    write_corpus(make_corpus(), folder_for("small", tmp_path / "ifmmin-store"))
    for name in ANOTHER_PROJECT:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise ImportError('a module of another project')")
    (tmp_path / "ifmmin.yaml").write_text("not: ours")
    assert "small" in call(tmp_path, "data", "list")
    call(tmp_path, "run", "demo", "--systems", "if-mmin", "--corpus", "small", "--folds", "1", "--set", "epochs=1")
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
