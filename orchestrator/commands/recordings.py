"""`ifmmin data import recordings`: from a folder of recordings to a corpus."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ifmmin.orchestrator.commands import options
from ifmmin.orchestrator.commands.data import keep
from ifmmin.orchestrator.commands.options import DEFAULT_STORAGE, Storage
from ifmmin.orchestrator.commands.selection import selects

EXAMPLE = "ifmmin data import recordings IEMOCAP_full_release --name iemocap --classes iemocap-4 --split-by sessions-5"


@selects
def command(
    root: Annotated[Path, typer.Argument(parser=options.path, help="The folder that holds the recordings.")],
    name: Annotated[str, typer.Option(help="Name of the corpus.")],
    layout: Annotated[
        str | None,
        typer.Option(
            help="table, iemocap, msp-improv, label-csv, meld, crema-d, ravdess, emodb; by default what the folder has."
        ),
    ] = None,
    extract: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LETTER=EXTRACTOR",
            help="An extractor, such as a=comparE or v=onnx:model.onnx; by default log-mel, face and wordllama for the "
            "sound, pictures and text that there are.",
        ),
    ] = None,
    allow_failures: Annotated[
        str, typer.Option(metavar="N|N%", help="How many clips may fail; they lack the modality.")
    ] = "0",
    workers: options.Workers = None,
    storage: Storage = DEFAULT_STORAGE,
    *,
    selection: dict[str, Any],
) -> None:
    """Import recordings: extract features on all cores and GPUs, and make a corpus. Run it again to resume."""
    from rich.console import Console

    from ifmmin.data.selection import Selection
    from ifmmin.orchestrator import importing
    from ifmmin.orchestrator.commands.extraction import ExtractionDisplay
    from ifmmin.orchestrator.execution.interruption import exit_status
    from ifmmin.orchestrator.planning.configuration import Compute

    console = Console()
    chosen = importing.parse_extract(extract or [])
    prepared = importing.prepare(
        root,
        name,
        storage=storage,
        layout=layout,
        extract=chosen,
        selection=Selection.of(selection),
        allow_failures=allow_failures,
    )
    shown = ", ".join(f"{letter}={spec}" for letter, spec in prepared.specs.items())
    count, total = len(prepared.chosen), len(prepared.recordings.clips)
    of_all = "" if count == total else f" of {total:,}"
    console.print(f"{count:,}{of_all} clips, extractors {shown}.", highlight=False, markup=False, soft_wrap=True)
    try:
        with ExtractionDisplay(console, prepared.clips) as display:
            extraction = importing.extract(prepared, compute=Compute(workers=workers), consumers=[display])
    except KeyboardInterrupt:
        console.print("Interrupted. Run the same command to resume.", highlight=False)
        raise typer.Exit(exit_status()) from None
    keep(*importing.finish(prepared, extraction), storage)
