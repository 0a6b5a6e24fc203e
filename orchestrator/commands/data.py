"""`ifmmin data`: list, describe, audit, import or synthesise corpora."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifmmin.orchestrator.commands import describe, options
from ifmmin.orchestrator.commands.options import DEFAULT_STORAGE, AsJson, Storage, shown_command
from ifmmin.orchestrator.commands.selection import selects

if TYPE_CHECKING:
    from ifmmin.data.audit import Finding
    from ifmmin.data.corpus import Corpus

app = typer.Typer(no_args_is_help=True, help="List, describe, audit, import or synthesise corpora.")
import_app = typer.Typer(no_args_is_help=True, help="Import a corpus from the layout it comes in.")
app.add_typer(import_app, name="import")


@app.command("list", epilog="Example: ifmmin data list")
def list_corpora(storage: Storage = DEFAULT_STORAGE) -> None:
    """List the available corpora: those shipped, and those imported."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ifmmin.data.catalogue import corpus_names, find_corpus

    table = Table("corpus", "utterances", "classes", "folds", "features", "about")
    for name in corpus_names(storage):
        corpus = find_corpus(name, storage)
        dimensions = ", ".join(f"{letter} {dimension}" for letter, dimension in corpus.dimensions.items())
        about = corpus.about.split(". ")[0]
        table.add_row(
            name, f"{len(corpus):,}", str(len(corpus.classes)), str(len(corpus.folds)), dimensions, escape(about)
        )
    Console().print(table)


app.command("describe", epilog=describe.EXAMPLE)(describe.command)


@app.command(epilog="Example: ifmmin data audit digits")
def audit(name: describe.CorpusName, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """Check for what could make results wrong: overlaps, repeated folds, broken features, and more."""
    import json
    from dataclasses import asdict

    from ifmmin.data.audit import audit as find_all
    from ifmmin.data.catalogue import find_corpus, stop_at_errors
    from ifmmin.data.corpus import verify_corpus

    corpus = find_corpus(name, storage)
    verify_corpus(corpus)
    findings = find_all(corpus)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show_findings(name, findings)
    stop_at_errors(findings, f"Corpus '{name}' cannot be trusted", "import it again from corrected files")


@import_app.command(epilog="Example: ifmmin data import mmin features/IEMOCAP --name iemocap --fix-folds")
@selects
def mmin(
    root: Annotated[Path, typer.Argument(parser=options.path, help="The folder that holds A, V, L and target.")],
    name: Annotated[str, typer.Option(help="Name of the corpus.")],
    fix_folds: Annotated[bool, typer.Option(help="Swap the two sets of a fold that repeats another.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    *,
    selection: dict[str, Any],
) -> None:
    """Import the layout of the MMIN authors' features: IEMOCAP, MSP-IMPROV, or any of the same form."""
    from ifmmin.data.catalogue import folder_for
    from ifmmin.data.layouts.mmin import import_mmin

    folder_for(name, storage)
    keep(*import_mmin(root, name, fix_folds=fix_folds, **selection), storage)


@import_app.command(epilog="Example: ifmmin data import mmsa MOSI/unaligned_50.pkl --name mosi --edges=-0.1,0.1")
@selects
def mmsa(
    file: Annotated[
        Path,
        typer.Argument(parser=options.path, help="The pickle file; it is read as data, and no code in it is executed."),
    ],
    name: Annotated[str, typer.Option(help="Name of the corpus.")],
    edges: Annotated[
        str | None, typer.Option(help="Where to divide sentiment into classes; by default its sign, in three classes.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    *,
    selection: dict[str, Any],
) -> None:
    """Import the layout of the MMSA toolkit's features: MOSI, MOSEI or CH-SIMS."""
    from ifmmin.data.catalogue import folder_for
    from ifmmin.data.errors import CorpusError
    from ifmmin.data.layouts.mmsa import import_mmsa

    folder_for(name, storage)
    try:
        cuts = [float(part) for part in edges.split(",")] if edges else []
    except ValueError:
        raise CorpusError(f"--edges {edges}: write numbers, such as --edges=-0.1,0.1.") from None
    keep(*import_mmsa(file, name, edges=cuts, **selection), storage)


@import_app.command(epilog="Example: ifmmin data import table mycorpus --name mine --split-by speaker")
@selects
def table(
    root: Annotated[
        Path,
        typer.Argument(parser=options.path, help="The folder that holds the table of utterances and their features."),
    ],
    name: Annotated[str, typer.Option(help="Name of the corpus.")],
    modalities: Annotated[
        str | None,
        typer.Option(
            metavar="LETTER:TITLE:ENCODER,…",
            help="Modalities to read, in their order, such as a:acoustic:lstm:standardised,p:physiological:linear; by "
            "default all that there are.",
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    *,
    selection: dict[str, Any],
) -> None:
    """Import a corpus of your own: tables in CSV or Parquet, features in NumPy files or Parquet."""
    from ifmmin.data.catalogue import folder_for
    from ifmmin.data.layouts.table import import_table

    folder_for(name, storage)
    keep(*import_table(root, name, modalities=modalities, **selection), storage)


@app.command(epilog="Example: ifmmin data synth --name small --utterances 1500 --dimensions 26,48,64")
def synth(
    name: Annotated[str, typer.Option(help="Name of the corpus.")] = "synthetic",
    utterances: Annotated[int, typer.Option(help="Number of utterances; IEMOCAP has 5531.")] = 5531,
    dimensions: Annotated[str, typer.Option(help="Number of features of a, v and t.")] = "130,342,1024",
    seed: Annotated[int, typer.Option(help="Seed of the corpus.")] = 0,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Draw a synthetic corpus in the shape of IEMOCAP whose best possible accuracy in each condition is known."""
    from ifmmin.data.catalogue import folder_for
    from ifmmin.data.corpus import write_corpus
    from ifmmin.data.errors import CorpusError
    from ifmmin.data.synthesis import LETTERS, synthesise

    sizes = [part.strip() for part in dimensions.split(",")]
    if len(sizes) != len(LETTERS) or not all(size.isdecimal() for size in sizes):
        raise CorpusError(f"--dimensions {dimensions}: write three whole numbers, such as 130,342,1024.")
    folder = folder_for(name, storage)
    features = dict(zip(LETTERS, map(int, sizes), strict=True))
    corpus = write_corpus(synthesise(name, utterances=utterances, dimensions=features, seed=seed), folder)
    best = ", ".join(f"{condition} {100 * value:.1f}" for condition, value in corpus.best.items())
    typer.echo(f"Wrote '{name}': {len(corpus):,} utterances. Best possible WA in %: {best}.")
    typer.echo(f"Next: {shown_command('run', 'demo', '--corpus', name, storage=storage)}")


def keep(corpus: "Corpus", findings: "list[Finding]", storage: str) -> None:
    """Show the findings of the audit, and write the corpus if none of them is an error."""
    from ifmmin.data.catalogue import keep_corpus

    _show_findings(corpus.name, findings)
    keep_corpus(corpus, findings, storage)
    folds = f"{len(corpus.folds)} fold{'s' if len(corpus.folds) > 1 else ''}"
    typer.echo(f"Imported '{corpus.name}': {len(corpus):,} utterances, {folds}.")
    typer.echo(f"Next: {shown_command('run', 'demo', '--corpus', corpus.name, storage=storage)}")


def _show_findings(name: str, findings: "list[Finding]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not findings:
        console.print(f"The audit of '{name}' has no findings.")
        return
    table = Table("", "check", "finding", title=f"audit of {name}", title_justify="left")
    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in findings:
        table.add_row(f"[{styles[finding.severity]}]{finding.severity}[/]", finding.check, escape(finding.message))
    console.print(table)
