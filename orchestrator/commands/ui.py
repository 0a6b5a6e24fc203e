"""`ifmmin ui`: MLflow's pages, opened where the systems of an experiment stand side by side."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Annotated

import typer

EXAMPLE = "ifmmin ui paper --port 5001"


def command(
    experiment: Annotated[
        str | None, typer.Argument(help="Compare the systems and hyperparameters of this experiment.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine's loopback address.")] = 5000,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open MLflow's pages on this machine, at the comparison of an experiment's systems.

    Where MLFLOW_TRACKING_URI names a server, its pages are opened and nothing is served.
    """
    from ifmmin.orchestrator.tracking.client import shown_uri, tracking_uri
    from ifmmin.orchestrator.tracking.pages import HOST, check_free, page_of, serve

    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        _show(f"{shown_uri().rstrip('/')}/{page_of(experiment)}", browser)
        return
    check_free(port)
    page = page_of(experiment)
    # A terminal that is closed, or a service that is stopped, ends the pages as Ctrl-C does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with suppress(KeyboardInterrupt), serve(uri, port) as server:
        _show(f"http://{HOST}:{port}/{page}", browser)
        typer.echo("Press Ctrl-C to stop MLflow's pages; nothing is deleted.")
        server.wait()


def _show(url: str, browser: bool) -> None:
    import webbrowser

    typer.echo(url)
    # Without a display Python would start a text browser in this very terminal.
    display = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if browser and display:
        webbrowser.open(url)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt
