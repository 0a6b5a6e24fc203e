"""Programs of systems from outside the package: read from files, loaded from their text alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from ifmmin.data.errors import UserError
from ifmmin.model.program import Program, load_module, read_program

SYSTEM = '''"""A system."""
import torch
from torch import nn


class Means(nn.Module):
    """Mean features."""

    def __init__(self, dimensions, classes, width: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(sum(dimensions.values()), width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, features, lengths, available):
        return self.layers(torch.cat([x.sum(1) / lengths[m][:, None] for m, x in features.items()], 1))
'''


def written(folder: Path, **files: str) -> Path:
    """The file `mine.py` of a folder with these files; `__` in a name stands for a slash."""
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text)
    return folder / "mine.py"


def test_a_program_holds_the_local_modules_that_its_file_imports(tmp_path: Path) -> None:
    imports = "import json\nimport layers.hidden\nimport layers.output as out\nfrom numbers_of_mine import WIDTH\n"
    file = written(
        tmp_path,
        mine=f"{imports}VALUE = layers.hidden.x + out.y + WIDTH",
        layers__hidden="from .output import y\nx = y",
        layers__output="y = 1",
        numbers_of_mine="WIDTH = 10",
        unrelated="1 / 0",
    )
    program = read_program(str(file))
    assert list(program.texts) == ["layers", "layers.hidden", "layers.output", "mine", "numbers_of_mine"]
    file.unlink()
    assert load_module(program).VALUE == 12
    assert not {"mine", "layers", "numbers_of_mine"} & sys.modules.keys()


def test_modules_of_the_same_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{n}", mine="from parts import X", parts=f"X = {n}") for n in (1, 2)]
    assert [load_module(read_program(str(file))).X for file in files] == [1, 2]


def test_a_file_within_a_package_imports_relatively_and_absolutely(tmp_path: Path) -> None:
    text = "from . import parts\nfrom .parts import X\nfrom lab.parts import X as Y\nTHREE = parts.X, X, Y"
    written(tmp_path, lab__mine=text, lab__parts="X = 1")
    (tmp_path / "lab" / "__init__.py").touch()
    assert load_module(read_program(str(tmp_path / "lab" / "mine.py"))).THREE == (1, 1, 1)


def test_a_module_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, lab__mine="X = 1")
    monkeypatch.chdir(tmp_path)
    program = read_program("lab.mine:X")
    assert (program.module, program.attribute, load_module(program).X) == ("lab.mine", "X", 1)


def test_of_what_is_installed_its_own_package_alone_is_part_of_a_program(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    written(installed, lab__mine="import other\nfrom lab import parts", lab__parts="", other="")
    assert list(read_program(str(installed / "lab" / "mine.py")).texts) == ["mine"]
    (installed / "lab" / "__init__.py").touch()
    assert list(read_program(str(installed / "lab" / "mine.py")).texts) == ["lab", "lab.mine", "lab.parts"]


def test_a_version_changes_with_what_is_computed_alone(tmp_path: Path) -> None:
    def version(**files: str) -> str:
        return read_program(str(written(tmp_path, **files))).version()

    first = version(mine="from parts import X\nY = X + 1", parts="X = 1")
    assert version(mine='"""Mine."""\n\nfrom parts import X\n\nY = X + 1  # more', parts="X = 1") == first
    assert version(mine="from parts import X\nY = X + 1", parts="X = 2") != first


def test_a_program_is_the_same_after_it_was_kept(tmp_path: Path) -> None:
    program = read_program(str(written(tmp_path, mine=SYSTEM)))
    assert Program.of(program.content) == program


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "line 1 is not valid Python"),
        ("\n1 / 0", r"mine.py cannot be loaded at line 2 of mine.py \(ZeroDivisionError: division by zero\); correct"),
        ("import no_such_module", r"cannot be loaded .*No module named 'no_such_module'"),
        ("open(__file__)", "NameError"),  # it would not be there on a worker
    ],
)
def test_a_file_that_cannot_be_loaded_is_refused_in_a_sentence(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_module(read_program(str(written(tmp_path, mine=text))))


def test_a_file_or_module_that_is_not_there_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"There is no file \./nothing\.py"):
        read_program("./nothing.py")
    with pytest.raises(UserError, match=r"There is no module nowhere\.mine"):
        read_program("nowhere.mine:SYSTEM")


def test_nothing_of_a_program_is_read_with_pytorch(tmp_path: Path) -> None:
    file = written(tmp_path, mine=SYSTEM)
    code = "import sys; from ifmmin.model.program import read_program; read_program(sys.argv[1])"
    code = f"{code}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
