"""`ifmmin report`: the table of an experiment in several formats, and its report."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ifmmin.orchestrator.commands import options

if TYPE_CHECKING:
    import pandas as pd

    from ifmmin.orchestrator.analysis.experiment import Analysis

EXAMPLE = "ifmmin report paper --against mmin --format latex"
FORMATS = ("table", "markdown", "latex", "csv", "json")


def command(
    experiment: options.ExperimentName,
    output: Annotated[str, typer.Option("--format", help="table, markdown, latex, csv or json.")] = "table",
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SYSTEM|published",
            help="Compare with this system (if-mmin by default), and with published figures; may be repeated.",
        ),
    ] = None,
    protocols: Annotated[
        str | None,
        typer.Option(help="Also evaluate under these protocols: random-modality,random-frames,frame-block, or all."),
    ] = None,
    storage: options.Storage = options.DEFAULT_STORAGE,
) -> None:
    """Print an experiment's table, and write its report: one page of tables, tests, figures, and how they were made."""
    from rich.console import Console

    from ifmmin.data.errors import nearest
    from ifmmin.orchestrator.analysis.experiment import analyse
    from ifmmin.orchestrator.commands.display import Display
    from ifmmin.orchestrator.commands.tables import show_table
    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.planning.configuration_file import ConfigurationError
    from ifmmin.orchestrator.planning.plan import protocol_plan
    from ifmmin.orchestrator.reporting import formats
    from ifmmin.orchestrator.workflows import evaluate_under, load_complete, protocols_of, write_report

    if output not in FORMATS:
        raise ConfigurationError(f"There is no format '{output}'; {nearest(output, FORMATS)}")
    opened = Experiment.recorded(experiment, storage)
    results = load_complete(opened)
    if names := protocols_of(options.words(protocols)):
        plan = protocol_plan(opened.plan, results.runs, names)
        with Display.of(Console(stderr=True), opened, plan, "evaluation") as display:
            evaluate_under(plan, opened, [display])
    analysis = analyse(opened, results, against or [])
    if output == "table":
        console = Console()
        show_table(console, analysis)
        with console.status("writing the report"):
            written = write_report(analysis)
        if written.lost:
            console.print(f"[yellow]{written.lost}[/]", highlight=False, soft_wrap=True)
        console.print(f"Report: {written.location}", highlight=False, soft_wrap=True)
    elif output == "json":
        frames = {name: json.loads(frame.to_json(orient="records")) for name, frame in _frames(analysis).items()}
        typer.echo(json.dumps(frames, indent=2))
    elif output == "csv":
        typer.echo(formats.csv(analysis.summary), nl=False)
    else:
        write = {"markdown": formats.markdown, "latex": formats.latex}[output]
        typer.echo(write(analysis.summary, analysis.comparison, analysis.remarks))


def _frames(analysis: "Analysis") -> "dict[str, pd.DataFrame]":
    from ifmmin.orchestrator.analysis.calibration import calibrate, expected_calibration_error
    from ifmmin.orchestrator.analysis.subgroups import score_subgroups

    frames = {"summary": analysis.summary, "times": analysis.results.times}
    if analysis.comparison:
        frames["comparison"] = analysis.comparison.frame
    if analysis.areas is not None:
        predictions = analysis.results.predictions
        _, gaps = score_subgroups(predictions, analysis.experiment.corpus)
        errors = expected_calibration_error(calibrate(predictions)).reset_index()
        frames |= {"areas": analysis.areas, "gaps": gaps, "calibration_error": errors}
    return frames
