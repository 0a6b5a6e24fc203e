"""`ifmmin systems`: the systems and their hyperparameters, and checks of systems of one's own."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from ifmmin.data.errors import UserError, nearest
from ifmmin.orchestrator.commands import options

app = typer.Typer(rich_markup_mode="rich", invoke_without_command=True, epilog="Example: ifmmin systems")


@app.callback()
def command(context: typer.Context, as_json: options.AsJson = False) -> None:
    """List the systems, and the hyperparameters that --set changes."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.table import Table

    from ifmmin.orchestrator.planning.catalogue import systems

    if as_json:
        typer.echo(json.dumps(list(_rows()), indent=2))
        return
    console = Console()
    for system in systems().values():
        table = Table(title=f"[bold]{system.name}[/]: {system.summary}", title_justify="left", title_style="")
        for column in ("stage", "--set", "default", "meaning"):
            table.add_column(column)
        for row in _rows():
            if row["system"] == system.name:
                meaning = f"{row['meaning']}: {', '.join(row['choices'])}" if row["choices"] else row["meaning"]
                table.add_row(row["stage"], row["hyperparameter"], str(row["default"]), meaning)
        console.print(table)


@app.command("check", epilog="Example: ifmmin systems check ./mine.py")
def check(
    system: Annotated[str, typer.Argument(help="A file (./mine.py, ./mine.py:SYSTEM), a module, or a system's name.")],
) -> None:
    """Check that a system does what every system must: train it on small made-up corpora, and say what is wrong."""
    from rich.console import Console

    from ifmmin.model.conformance.checks import CHECKS, Subject, findings_of
    from ifmmin.model.systems import SYSTEMS
    from ifmmin.orchestrator.planning.catalogue import find_systems
    from ifmmin.orchestrator.planning.catalogue import systems as known

    console = Console(highlight=False)
    (name,) = find_systems([system])
    if name not in SYSTEMS:
        raise UserError(f"There is no system '{name}'; {nearest(name, known())}")
    console.print(f"[bold]{name}[/]: {SYSTEMS[name].summary}")
    done = wrong = 0
    for finding in findings_of(Subject.of(SYSTEMS[name])):
        done += 1
        if finding.problem is None:
            console.print(f"[green]ok[/]    {finding.title}")
        else:
            wrong += 1
            console.print(f"[red]wrong[/] {finding.title}\n      {escape(finding.problem)}")
    if wrong:
        left = f"; {len(CHECKS) - done} more follow once that is right" if done < len(CHECKS) else ""
        console.print(f"{wrong} of {done} checks failed{left}.")
        raise typer.Exit(1)
    console.print(f"All {done} checks passed. Compare it: ifmmin run paper --systems {system},if-mmin")


def _rows() -> Iterator[dict[str, Any]]:
    """A row for each hyperparameter of each stage."""
    from ifmmin.orchestrator.planning.catalogue import systems

    for system in systems().values():
        for name, stage in system.stages.items():
            for item in stage.hyperparameters:
                about = asdict(item)
                yield {"system": system.name, "stage": name, "hyperparameter": about.pop("name"), **about}
