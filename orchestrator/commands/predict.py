"""`ifmmin predict`: new utterances from files of features or from recordings, predictions into a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ifmmin.data.errors import UserError, listed
from ifmmin.orchestrator.commands import options

if TYPE_CHECKING:
    import pandas as pd

    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.planning.plan import Run

EXAMPLE = "ifmmin predict paper --system if-mmin --input interviews --output predictions.csv"
SUFFIXES = (".csv", ".parquet")


def command(
    experiment: options.ExperimentName,
    output: Annotated[Path, typer.Option(parser=options.path, help="Where to write: a CSV or Parquet file.")],
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--input",
            parser=options.path,
            help="Utterances, laid out as for `data import table`; labels are not needed.",
        ),
    ] = None,
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            parser=options.path,
            metavar="PATH",
            help="Recordings instead: a file, or a folder of them; may be repeated.",
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(min=0.2, metavar="SECONDS", help="Cut recordings into windows, for a timeline and its picture."),
    ] = None,
    extract: Annotated[
        list[str] | None,
        typer.Option(metavar="LETTER=EXTRACTOR", help="Where a model of the corpus lies, such as t=hf-text:bert."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="System whose runs predict; by default the experiment's first.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="Use the runs of this fold only.")] = None,
    seed: Annotated[int | None, typer.Option(help="Use the runs of this seed only.")] = None,
    every_condition: Annotated[
        bool, typer.Option("--every-condition", help="Also predict as if more modalities were missing.")
    ] = False,
    storage: options.Storage = options.DEFAULT_STORAGE,
) -> None:
    """Predict new utterances, with any modalities missing, by the mean of the trained runs of a system.

    A missing file or row, or one without frames, is a missing modality, which is replaced by zeros of the training
    set's median length. An utterance without any modality is left out. Recordings go through the extractors that the
    corpus was made with; a text beside a file (NAME.txt) is what is said in it.
    """
    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.workflows import choose_runs

    if output.suffix not in SUFFIXES:
        raise UserError(f"--output {output} must end in {' or '.join(SUFFIXES)}.")
    if (inputs is None) == (not recordings):
        raise UserError("Give either --input with a folder of features, or --recordings with files or folders.")
    if every is not None and (inputs is not None or every_condition):
        raise UserError("--every cuts --recordings, and has one row for each window; leave out the other options.")
    opened = Experiment.recorded(experiment, storage)
    runs = choose_runs(opened, system, fold, seed)
    if inputs is not None:
        _predict_features(opened, runs, inputs, output, every_condition=every_condition)
    else:
        from ifmmin.orchestrator.importing import parse_extract

        elsewhere = parse_extract(extract or []) or {}
        _predict_recordings(opened, runs, recordings or [], output, elsewhere, every, every_condition=every_condition)


def _predict_features(
    experiment: "Experiment", runs: "list[Run]", inputs: Path, output: Path, *, every_condition: bool
) -> None:
    from ifmmin.data.layouts.table import read_utterances
    from ifmmin.orchestrator.workflows import predict

    frame = predict(experiment, runs, inputs, every_condition=every_condition)
    _write(frame, output)
    _conclude(frame, read_utterances(inputs)["utterance"].to_pylist(), runs, output)


def _predict_recordings(
    experiment: "Experiment",
    runs: "list[Run]",
    recordings: list[Path],
    output: Path,
    elsewhere: dict[str, str],
    every: float | None,
    *,
    every_condition: bool,
) -> None:
    from rich.console import Console

    from ifmmin.data.recordings.clips import find_clips, windows
    from ifmmin.orchestrator.commands.extraction import ExtractionDisplay
    from ifmmin.orchestrator.workflows import predict_recordings, predict_timelines

    clips = find_clips(recordings)
    if every is None:
        with ExtractionDisplay(Console(), clips) as display:
            frame = predict_recordings(
                experiment, runs, clips, extractors=elsewhere, every_condition=every_condition, consumers=[display]
            )
        _write(frame, output)
        _conclude(frame, [clip.utterance for clip in clips], runs, output)
        return
    parts = {clip.utterance: windows(clip, every) for clip in clips}
    with ExtractionDisplay(Console(), [clip for cut in parts.values() for clip in cut]) as display:
        frame = predict_timelines(experiment, runs, parts, extractors=elsewhere, consumers=[display])
    _write(frame, output)
    pictures = [_draw(part, str(name), experiment.corpus.classes, output) for name, part in frame.groupby("recording")]
    typer.echo(f"{len(frame):,} windows of {every:g} s: {output}, drawn in {listed([str(file) for file in pictures])}")


def _write(frame: "pd.DataFrame", output: Path) -> None:
    try:
        if output.suffix == ".csv":
            frame.to_csv(output, index=False)
        else:
            frame.to_parquet(output, index=False)
    except OSError as error:
        raise UserError(f"The predictions cannot be written to {output}: {error.strerror or error}.") from None


def _draw(windows: "pd.DataFrame", recording: str, classes: tuple[str, ...], output: Path) -> Path:
    """Draw the timeline of a recording beside the output."""
    from ifmmin.orchestrator.reporting.figures.timeline import timeline

    drawing = timeline(windows, recording, classes)
    file = output.with_name(f"{output.stem}-{recording.replace('/', '-')}.png")
    file.write_bytes(drawing.files[f"{drawing.name}.png"])
    return file


def _conclude(frame: "pd.DataFrame", names: list[str], runs: "list[Run]", output: Path) -> None:
    from ifmmin.orchestrator.reporting.tables import count_of

    counts = frame["condition"].value_counts(sort=False).items()
    what = ", ".join(f"{count:,} {condition}" for condition, count in counts)
    typer.echo(f"{len(frame):,} predictions ({what}) by {count_of(len(runs), 'run')} of {runs[0].system}: {output}")
    predicted = set(frame["utterance"])
    if left_out := [name for name in names if name not in predicted]:
        typer.echo(f"Left out for lack of any modality: {listed(left_out)}.")
