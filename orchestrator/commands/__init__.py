"""The commands of the command line, one per module: their options and their output. Nothing else prints.

A command's imports happen when it is called, so that `ifmmin --help` and light commands start quickly.
"""

from typing import Annotated

import typer

from ifmmin.orchestrator.commands import (
    data,
    plan,
    predict,
    recordings,
    report,
    run,
    search,
    status,
    systems,
    track,
    ui,
)
from ifmmin.version import package_version

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help="Cross-validates missing-modality emotion recognition models on Ray, with results in MLflow.",
    epilog="Start with: ifmmin run demo. Errors are one sentence; --debug after any command shows the traceback.",
)


def show_version(wanted: bool) -> None:
    """Print the version and stop, where `--version` asks for it."""
    if wanted:
        typer.echo(f"ifmmin {package_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of `ifmmin` itself."""


for module in (run, search, plan, report, predict, status, track, ui):
    app.command(module.__name__.rpartition(".")[2], epilog=f"Example: {module.EXAMPLE}")(module.command)
data.import_app.command("recordings", epilog=f"Example: {recordings.EXAMPLE}")(recordings.command)
app.add_typer(systems.app, name="systems")
app.add_typer(data.app, name="data")
