"""Options that several commands share, and the configuration that they make."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifmmin.data.paths import expand

if TYPE_CHECKING:
    from ifmmin.orchestrator.planning.configuration import Configuration

DEFAULT_STORAGE = "ifmmin-store"

Source = Annotated[str, typer.Argument(metavar="demo|paper|FILE", help="A shipped configuration, or a YAML file.")]
CorpusName = Annotated[str | None, typer.Option("--corpus", help="A corpus that `ifmmin data list` shows.")]
Systems = Annotated[str | None, typer.Option(help="Rows of the table, such as if-mmin,mmin.")]
Folds = Annotated[str | None, typer.Option(help="all, or numbers such as 1-3,5.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds, each with one run of every fold, such as 0,1,2.")]
Hyperparameters = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter, such as lambda2=50 or train.epochs=10."),
]
TrainMissing = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="Remove modalities from training utterances at this rate: 0.3, or by modality a=0.1,v=0.5.",
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the experiment; by default that of its configuration.")]
Workers = Annotated[
    int | None, typer.Option(help="Number of stages that run at once; by default one for each CPU core.")
]
Storage = Annotated[str, typer.Option(help="Folder or URI of the store.")]
StorageOption = Annotated[str | None, typer.Option("--storage", help="Folder or URI of the store.")]
ExperimentName = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Name of an experiment that ran.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def shown_command(*words: str, storage: str) -> str:
    """A command for the user to type next, with the store where that is not the default."""
    return " ".join(["ifmmin", *words, *(["--storage", storage] if storage != DEFAULT_STORAGE else [])])


def configure(
    source: str,
    *,
    corpus: str | None,
    systems: str | None,
    folds: str | None,
    seeds: str | None,
    hyperparameters: list[str] | None,
    name: str | None,
    workers: int | None,
    storage: str | None,
    train_missing: str | None = None,
    trials: int | None = None,
) -> "Configuration":
    """The configuration of a file overridden by the options of the command line."""
    from ifmmin.orchestrator.planning.configuration import load_configuration, parse_hyperparameters

    overrides: dict[str, Any] = {"corpus": corpus, "folds": folds, "seeds": seeds, "name": name, "storage": storage}
    if systems is not None:
        overrides["systems"] = words(systems)
    if hyperparameters:
        overrides["hyperparameters"] = parse_hyperparameters(hyperparameters)
    if train_missing is not None:
        overrides["train_missing"] = train_missing
    if workers is not None:
        overrides["compute"] = {"workers": workers}
    if trials is not None:
        overrides["search"] = {"trials": trials}
    return load_configuration(source, {key: value for key, value in overrides.items() if value is not None})


def path(text: str) -> Path:
    """A path with `~` and variables expanded, which a shell leaves as they are behind `--option=`."""
    return Path(expand(text))


def words(text: str | None) -> list[str]:
    """The words of a list that commas separate."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]
