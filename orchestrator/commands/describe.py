"""`ifmmin data describe`: a corpus in numbers, or as a page of pictures."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ifmmin.orchestrator.commands import options
from ifmmin.orchestrator.commands.options import DEFAULT_STORAGE, AsJson, Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ifmmin.data.corpus import Corpus
    from ifmmin.data.leaks import Leak, Row

CorpusName = Annotated[str, typer.Argument(help="A corpus that `ifmmin data list` shows.")]

EXAMPLE = "Example: ifmmin data describe digits --html digits.html"
MOST_NAMES = 50
"""Names of a leak in JSON."""


def command(
    name: CorpusName,
    file: Annotated[
        Path | None, typer.Argument(parser=options.path, help="Where --html writes the page; by default NAME.html.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write a page with pictures of the corpus.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Describe a corpus: sizes, classes, lengths, folds, and what sets of a fold share; or write a page of pictures."""
    import json

    from ifmmin.data.catalogue import find_corpus
    from ifmmin.data.errors import UserError
    from ifmmin.data.leaks import find_leaks, leak_table

    if file is not None and not html:
        raise UserError(f"{file} would be the file of a page; add --html to write it.")
    if html and as_json:
        raise UserError("--html writes a page and --json prints JSON; choose one of them.")
    corpus = find_corpus(name, storage)
    if html:
        _write_page(corpus, file or Path(f"{name}.html"))
        return
    leaks = find_leaks(corpus)
    description = _description(corpus, leaks)
    if as_json:
        typer.echo(json.dumps(description, indent=2))
    else:
        _show_description(description, leak_table(corpus, leaks))


def _write_page(corpus: "Corpus", file: Path) -> None:
    from rich.console import Console

    from ifmmin.data.errors import UserError
    from ifmmin.data.folder import reason
    from ifmmin.orchestrator.reporting.corpus_page import render_corpus_page

    with Console(stderr=True).status("drawing"):
        page = render_corpus_page(corpus)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"The page cannot be written to {file} ({reason(error)}); choose another file.") from error
    typer.echo(f"Wrote {file}.")


def _description(corpus: "Corpus", leaks: "Sequence[Leak]") -> dict[str, object]:
    from dataclasses import asdict

    import numpy as np

    quantiles = (0, 0.25, 0.5, 0.75, 0.9, 0.99, 1)
    counts = np.bincount(corpus.labels, minlength=len(corpus.classes)).tolist()
    return {
        "name": corpus.name,
        "about": corpus.about,
        "fingerprint": corpus.fingerprint,
        "utterances": len(corpus),
        "speakers": None if corpus.speakers is None else len({*corpus.speakers} - {None}),
        "dialogues": _dialogues(corpus),
        "classes": dict(zip(corpus.classes, counts, strict=True)),
        "modalities": {
            modality.letter: {
                "title": modality.title,
                "features": corpus.dimensions[modality.letter],
                "encoder": modality.encoder,
                "standardised": modality.standardised,
                "missing": int((lengths == 0).sum()),
                "lengths": {f"{q:.0%}": int(np.quantile(lengths[lengths > 0], q)) for q in quantiles},
            }
            for modality in corpus.modalities
            for lengths in [corpus.sequences[modality.letter].lengths]
        },
        "folds": {
            number: {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)}
            for number, fold in sorted(corpus.folds.items())
        },
        "leaks": [_leak(leak) for leak in leaks],
        "best": dict(corpus.best),
        "extractors": {letter: asdict(how) for letter, how in corpus.extractors.items()},
    }


def _dialogues(corpus: "Corpus") -> dict[str, int] | None:
    """How many there are, and how many utterances the longest has."""
    if "dialogue" not in corpus.utterances.column_names:
        return None
    sizes = Counter(name for name in corpus.utterances["dialogue"].to_pylist() if name is not None)
    return {"count": len(sizes), "longest": max(sizes.values(), default=0)}


def _leak(leak: "Leak") -> dict[str, object]:
    sets, names = list(leak.sets), leak.names[:MOST_NAMES]
    return {
        "kind": leak.kind,
        "modalities": leak.of or None,
        "fold": leak.fold,
        "sets": sets,
        "count": leak.count,
        "first": names,
    }


def _show_description(description: dict, leaks: "Sequence[Row]") -> None:  # type: ignore[type-arg]
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    speakers = description["speakers"]
    console.print(f"[bold]{description['name']}[/]: {escape(description['about'])}")
    console.print(f"{description['utterances']:,} utterances, {speakers or 'unknown'} speakers")
    if description["dialogues"]:
        console.print("{count:,} dialogues of up to {longest:,} utterances".format(**description["dialogues"]))
    console.print(f"fingerprint {description['fingerprint']}")
    classes = ", ".join(f"{name} {count:,}" for name, count in description["classes"].items())
    console.print(f"classes: {escape(classes)}")
    if description["best"]:
        best = ", ".join(f"{condition} {100 * value:.1f}" for condition, value in description["best"].items())
        console.print(f"best possible WA in %: {best}")
    about = ("modality", "title", "features", "encoder", "standardised", "missing")
    modalities = Table(*about, title="modalities", title_justify="left")
    quantiles = next(iter(description["modalities"].values()))["lengths"]
    lengths = Table("modality", *quantiles, title="time steps", title_justify="left")
    for letter, values in description["modalities"].items():
        standardised = "in each fold" if values["standardised"] else "no"
        facts = escape(values["title"]), str(values["features"]), values["encoder"], standardised
        modalities.add_row(letter, *facts, f"{values['missing']:,}")
        lengths.add_row(letter, *map(str, values["lengths"].values()))
    console.print(modalities)
    console.print(lengths)
    for letter, how in description["extractors"].items():
        line = f"{letter} was made from recordings by {how['extractor']}, version {how['version']} ({how['licence']})"
        console.print(line, markup=False, soft_wrap=True)
    folds = Table("fold", "train", "validation", "test", title="folds", title_justify="left")
    for number, sizes in description["folds"].items():
        folds.add_row(str(number), *(f"{size:,}" for size in sizes.values()))
    console.print(folds)
    shared = Table("shared", "sets", "how many", "folds", "first", title="leaks", title_justify="left")
    for row in leaks:
        shared.add_row(*map(escape, row))
    if leaks:
        console.print(shared)
    else:
        console.print("No leaks: the sets of a fold share nothing that the audit looks for.")
