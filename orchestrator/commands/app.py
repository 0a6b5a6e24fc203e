"""The verbs of the command line. Nothing heavy is imported before a verb needs it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifmmin.orchestrator.commands.data import data_app

if TYPE_CHECKING:
    from ifmmin.orchestrator.planning.configuration import Configuration

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help="Cross-validates missing-modality emotion recognition models on Ray, with results in MLflow.",
    epilog="Start with: ifmmin run demo. Errors are one sentence; --debug after any command shows the traceback.",
)
app.add_typer(data_app, name="data")

Source = Annotated[str, typer.Argument(metavar="demo|paper|FILE", help="A shipped configuration, or a YAML file.")]
CorpusName = Annotated[str | None, typer.Option("--corpus", help="A corpus that `ifmmin data list` shows.")]
Systems = Annotated[str | None, typer.Option(help="Rows of the table, such as if-mmin,mmin.")]
Folds = Annotated[str | None, typer.Option(help="all, or numbers such as 1-3,5.")]
Seeds = Annotated[str | None, typer.Option(help="One run of every fold for each, such as 0,1,2.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter, such as lambda2=50 or train.epochs=10."),
]
Name = Annotated[str | None, typer.Option(help="What the experiment is called; by default as its configuration.")]
Workers = Annotated[int | None, typer.Option(help="Stages at once; by default one for each CPU core.")]
Storage = Annotated[str | None, typer.Option(help="Folder or URI of the store; by default ./ifmmin-store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command(epilog="Example: ifmmin run paper --corpus digits --folds 1-3 --seeds 0 --set lambda2=50")
def run(
    source: Source,
    corpus: CorpusName = None,
    systems: Systems = None,
    folds: Folds = None,
    seeds: Seeds = None,
    settings: Settings = None,
    name: Name = None,
    workers: Workers = None,
    storage: Storage = None,
    best_of: Annotated[
        str | None, typer.Option(metavar="SEARCH", help="Evaluate the best setting of a search on the test sets.")
    ] = None,
) -> None:
    """Run an experiment: whatever of it is not in the store yet, then its table."""
    from ifmmin.orchestrator.commands.run import run_experiment
    from ifmmin.orchestrator.search.trials import take_best

    configuration = _configure(source, corpus, systems, folds, seeds, settings, name, workers, storage)
    if best_of is not None:
        configuration = take_best(configuration, best_of)
    raise typer.Exit(run_experiment(configuration))


@app.command(epilog="Example: ifmmin search search --trials 20 --folds 1-10; then: ifmmin run paper --best-of search")
def search(
    source: Annotated[str, typer.Argument(metavar="search|FILE", help="A shipped configuration, or a YAML file.")],
    trials: Annotated[int | None, typer.Option(help="Choices of hyperparameters; 20 by default.")] = None,
    corpus: CorpusName = None,
    systems: Annotated[str | None, typer.Option(help="The one system to search, such as mmin.")] = None,
    folds: Folds = None,
    seeds: Seeds = None,
    settings: Settings = None,
    name: Name = None,
    workers: Workers = None,
    storage: Storage = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search of that name.")] = False,
) -> None:
    """Search hyperparameters by cross-validation, on validation sets alone."""
    from ifmmin.orchestrator.commands.search import run_search

    configuration = _configure(source, corpus, systems, folds, seeds, settings, name, workers, storage, trials)
    raise typer.Exit(run_search(configuration, resume))


@app.command(epilog="Example: ifmmin plan paper --corpus digits --set moment_order=3")
def plan(
    source: Source,
    corpus: CorpusName = None,
    systems: Systems = None,
    folds: Folds = None,
    seeds: Seeds = None,
    settings: Settings = None,
    name: Name = None,
    workers: Workers = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show what an experiment would run, what is in the store already, and how long the rest should take."""
    from ifmmin.orchestrator.commands.report import show_plan

    show_plan(_configure(source, corpus, systems, folds, seeds, settings, name, workers, storage), as_json)


@app.command(epilog="Example: ifmmin report paper --against mmin --format latex")
def report(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment that ran.")],
    output: Annotated[str, typer.Option("--format", help="table, markdown, latex, csv or json.")] = "table",
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SYSTEM|published",
            help="Compare with this system (if-mmin by default), and with published figures; may be given twice.",
        ),
    ] = None,
    protocols: Annotated[
        str | None,
        typer.Option(help="Evaluate also under these: random-modality,random-frames,frame-block, or all."),
    ] = None,
    storage: Storage = None,
) -> None:
    """Print an experiment's table, and write its report: one page of tables, tests, figures, and how they were made."""
    from ifmmin.orchestrator.commands.report import show_report

    show_report(experiment, storage, output, against or [], _words(protocols))


@app.command(epilog="Example: ifmmin predict paper --system if-mmin --input interviews --output predictions.csv")
def predict(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment that ran.")],
    inputs: Annotated[
        Path, typer.Option("--input", help="Utterances, laid out as for `data import table`; labels are not needed.")
    ],
    output: Annotated[Path, typer.Option(help="Where to write: a CSV or Parquet file.")],
    system: Annotated[str | None, typer.Option(help="Whose runs to ask; by default the experiment's first.")] = None,
    fold: Annotated[int | None, typer.Option(help="Ask the runs of this fold alone.")] = None,
    seed: Annotated[int | None, typer.Option(help="Ask the runs of this seed alone.")] = None,
    every_condition: Annotated[
        bool, typer.Option("--every-condition", help="Predict also as if more were missing.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Predict new utterances, with any modalities missing, by the mean of the trained runs of a system.

    A missing file or row is a missing modality. It counts as zeros; how many, where nothing says how long it would have
    been, is the median of the training set.
    """
    from ifmmin.orchestrator.commands.predict import predict_inputs

    predict_inputs(
        experiment, storage, inputs, output, system=system, fold=fold, seed=seed, every_condition=every_condition
    )


@app.command(epilog="Example: ifmmin status paper --storage s3://bucket/ifmmin")
def status(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment that runs or ran.")],
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show how far an experiment is, from any machine that sees its store, and why stages failed."""
    from ifmmin.orchestrator.execution.status import show_status

    show_status(experiment, storage, as_json)


@app.command(epilog="Example: MLFLOW_TRACKING_URI=http://127.0.0.1:5000 ifmmin track paper")
def track(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment that ran, or of a search.")],
    storage: Storage = None,
) -> None:
    """Write to MLflow what it lacks of an experiment in the store: all of it, if it is a new one."""
    from ifmmin.orchestrator.commands.report import track as track_in_mlflow

    track_in_mlflow(experiment, storage)


@app.command(epilog="Example: ifmmin systems")
def systems(as_json: AsJson = False) -> None:
    """List the systems, and the hyperparameters that --set changes."""
    from ifmmin.orchestrator.commands.report import show_systems

    show_systems(as_json)


@app.command(epilog="Example: ifmmin ui paper --port 5001")
def ui(
    experiment: Annotated[str | None, typer.Argument(help="Compare the systems and settings of this one.")] = None,
    port: Annotated[int, typer.Option(help="Port on this machine's loopback address.")] = 5000,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open MLflow's pages on this machine, at the comparison of an experiment's systems."""
    from ifmmin.orchestrator.commands.ui import open_ui

    open_ui(experiment, port, browser)


def _configure(
    source: str,
    corpus: str | None,
    systems: str | None,
    folds: str | None,
    seeds: str | None,
    settings: list[str] | None,
    name: str | None,
    workers: int | None,
    storage: str | None,
    trials: int | None = None,
) -> "Configuration":
    from ifmmin.orchestrator.planning.configuration import load_configuration, parse_hyperparameters

    overrides: dict[str, Any] = {"corpus": corpus, "folds": folds, "seeds": seeds, "name": name, "storage": storage}
    if systems is not None:
        overrides["systems"] = _words(systems)
    if settings:
        overrides["hyperparameters"] = parse_hyperparameters(settings)
    if workers is not None:
        overrides["compute"] = {"workers": workers}
    if trials is not None:
        overrides["search"] = {"trials": trials}
    return load_configuration(source, {key: value for key, value in overrides.items() if value is not None})


def _words(text: str | None) -> list[str]:
    """What commas separate."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]
