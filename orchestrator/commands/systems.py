"""`ifmmin systems`: the systems and their hyperparameters."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import typer

from ifmmin.orchestrator.commands import options

EXAMPLE = "ifmmin systems"


def command(as_json: options.AsJson = False) -> None:
    """List the systems, and the hyperparameters that --set changes."""
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


def _rows() -> Iterator[dict[str, Any]]:
    """A row for each hyperparameter of each stage."""
    from ifmmin.orchestrator.planning.catalogue import systems

    for system in systems().values():
        for name, stage in system.stages.items():
            for item in stage.hyperparameters:
                about = asdict(item)
                yield {"system": system.name, "stage": name, "hyperparameter": about.pop("name"), **about}
