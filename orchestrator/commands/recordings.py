"""`ifmmin data import recordings`: from a folder of recordings to a corpus."""

from pathlib import Path
from typing import Annotated

import typer

from ifmmin.orchestrator.commands import options
from ifmmin.orchestrator.commands.data import LeaveOut, keep
from ifmmin.orchestrator.commands.options import DEFAULT_STORAGE, Storage

EXAMPLE = "ifmmin data import recordings IEMOCAP_full_release --name iemocap --classes iemocap-4 --split-by sessions-5"


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
    classes: Annotated[
        str | None, typer.Option(help="Class names in label order, or iemocap-4, iemocap-6, msp-4 or meld-7.")
    ] = None,
    merge: Annotated[str, typer.Option(help="Classes that count as others, such as exc=hap,fru=ang.")] = "",
    drop: Annotated[str, typer.Option(help="Classes whose utterances are left out, such as oth,dis.")] = "",
    split_by: Annotated[
        str | None,
        typer.Option(
            help="Make folds by a column, stratified:5, sessions-5 or speakers-10; by default the sets there are."
        ),
    ] = None,
    folds_from: Annotated[
        Path | None, typer.Option(parser=options.path, help="A file or folder with the folds.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 0,
    leave_out: LeaveOut = None,
    allow_failures: Annotated[
        str, typer.Option(metavar="N|N%", help="How many clips may fail; they lack the modality.")
    ] = "0",
    workers: options.Workers = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Import recordings: extract features on all cores and GPUs, and make a corpus. Run it again to resume."""
    from rich.console import Console

    from ifmmin.data.selection import Selection
    from ifmmin.orchestrator.commands.extraction import ExtractionDisplay
    from ifmmin.orchestrator.execution.interruption import exit_status
    from ifmmin.orchestrator.importing import import_prepared, parse_extract, prepare
    from ifmmin.orchestrator.planning.configuration import Compute

    console = Console()
    selection = Selection(
        classes=classes,
        merge=merge,
        drop=drop,
        split_by=split_by,
        folds_from=folds_from,
        seed=seed,
        leave_out=leave_out or (),
    )
    chosen = parse_extract(extract or [])
    prepared = prepare(root, name, storage=storage, layout=layout, extract=chosen, selection=selection)
    shown = ", ".join(f"{letter}={spec}" for letter, spec in prepared.specs.items())
    count, total = len(prepared.chosen), len(prepared.recordings.clips)
    of_all = "" if count == total else f" of {total:,}"
    console.print(f"{count:,}{of_all} clips, extractors {shown}.", highlight=False, markup=False, soft_wrap=True)
    try:
        with ExtractionDisplay(console, prepared.clips) as display:
            corpus, findings = import_prepared(
                prepared, allow_failures=allow_failures, compute=Compute(workers=workers), consumers=[display]
            )
    except KeyboardInterrupt:
        console.print("Interrupted. Run the same command to resume.", highlight=False)
        raise typer.Exit(exit_status()) from None
    keep(corpus, findings, storage)
