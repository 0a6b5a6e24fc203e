"""`ifmmin predict`: new utterances from files, predictions into a file."""

from pathlib import Path
from typing import Annotated

import typer

from ifmmin.orchestrator.commands import options

EXAMPLE = "ifmmin predict paper --system if-mmin --input interviews --output predictions.csv"
SUFFIXES = (".csv", ".parquet")


def command(
    experiment: options.ExperimentName,
    inputs: Annotated[
        Path,
        typer.Option(
            "--input",
            parser=options.path,
            help="Utterances, laid out as for `data import table`; labels are not needed.",
        ),
    ],
    output: Annotated[Path, typer.Option(parser=options.path, help="Where to write: a CSV or Parquet file.")],
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
    set's median length. An utterance without any modality is left out.
    """
    from ifmmin.data.errors import UserError, listed
    from ifmmin.data.layouts.table import read_utterances
    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.reporting.tables import count_of
    from ifmmin.orchestrator.workflows import choose_runs, predict

    if output.suffix not in SUFFIXES:
        raise UserError(f"--output {output} must end in {' or '.join(SUFFIXES)}.")
    opened = Experiment.recorded(experiment, storage)
    runs = choose_runs(opened, system, fold, seed)
    frame = predict(opened, runs, inputs, every_condition=every_condition)
    try:
        if output.suffix == ".csv":
            frame.to_csv(output, index=False)
        else:
            frame.to_parquet(output, index=False)
    except OSError as error:
        raise UserError(f"The predictions cannot be written to {output}: {error.strerror or error}.") from None
    counts = frame["condition"].value_counts(sort=False).items()
    what = ", ".join(f"{count:,} {condition}" for condition, count in counts)
    typer.echo(f"{len(frame):,} predictions ({what}) by {count_of(len(runs), 'run')} of {runs[0].system}: {output}")
    predicted = set(frame["utterance"])
    if left_out := [name for name in read_utterances(inputs)["utterance"].to_pylist() if name not in predicted]:
        typer.echo(f"Left out for lack of any modality: {listed(left_out)}.")
