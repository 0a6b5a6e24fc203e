"""The options that all commands of `ifmmin data import` share, and the selection that they make."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ifmmin.orchestrator.commands.options import path

SELECTION: dict[str, Any] = {
    "classes": Annotated[
        str | None,
        typer.Option(
            help="Class names in label order: ang,hap,neu,sad; or iemocap-4, iemocap-6, msp-4, meld-7, which choose "
            "and merge labels as the literature does."
        ),
    ],
    "merge": Annotated[str | None, typer.Option(help="Classes that count as another: exc=hap,fru=ang.")],
    "drop": Annotated[str | None, typer.Option(help="Classes whose utterances are left out: xxx,oth.")],
    "split_by": Annotated[
        str | None,
        typer.Option(
            help="Make folds by a column whose values no two sets share, such as speaker or session; or stratified:5; "
            "or sessions-5, speakers-10: each session or speaker is tested once."
        ),
    ],
    "folds_from": Annotated[
        Path | None,
        typer.Option(parser=path, help="Folds from a file or a folder: a table, JSON or NumPy files."),
    ],
    "validation_from_train": Annotated[
        float | None,
        typer.Option(
            help="The part of each training set that becomes the validation set, such as 0.1; no speaker is in both."
        ),
    ],
    "seed": Annotated[int | None, typer.Option(min=0, help="Seed of the folds that are made; by default 0.")],
    "leave_out": Annotated[
        list[str] | None,
        typer.Option(
            help="Utterances to leave out. `broken`: those with NaN or infinite features. `empty`: those that lack "
            "every modality. `incomplete`: those that lack one."
        ),
    ],
    "speaker_pattern": Annotated[
        str | None, typer.Option(help="Regular expression whose groups, joined, are the speaker of an utterance name.")
    ],
    "dialogue_pattern": Annotated[
        str | None,
        typer.Option(
            help="Regular expression whose first group is the dialogue of an utterance name, its second the turn."
        ),
    ],
}


"""The options of `data.selection.Selection`; none has a default here, so that those are the only ones."""


def selects(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of a selection; its parameter `selection` gets those that are used, by name."""

    def run(**arguments: Any) -> None:
        used = {name: value for name in SELECTION if (value := arguments.pop(name)) is not None}
        command(**arguments, selection=used)

    before = [item for item in inspect.signature(command).parameters.values() if item.name != "selection"]
    kind = inspect.Parameter.KEYWORD_ONLY
    shared = [inspect.Parameter(name, kind, default=None, annotation=item) for name, item in SELECTION.items()]
    parameters = [*(item.replace(kind=kind) for item in before), *shared]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    return run
