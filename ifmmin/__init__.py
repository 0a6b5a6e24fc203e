"""Cross-validation of missing-modality emotion recognition models on Ray, with results in MLflow.

    import ifmmin

    result = ifmmin.run("demo", hyperparameters={"lambda2": 50})
    result.table

The functions here use the words of the command line and raise `UserError`, in one sentence, where it prints an error.
Importing this package imports nothing heavy; each function imports what it needs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifmmin.data.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from ifmmin.data.corpus import Corpus
    from ifmmin.model.hyperparameters import HyperparameterValue
    from ifmmin.orchestrator.api import Result, RunResult, SearchResult

__all__ = [
    "UserError",
    "import_mmin",
    "import_mmsa",
    "import_table",
    "load",
    "open_corpus",
    "predict",
    "run",
    "search",
    "train",
]

STORAGE = "ifmmin-store"


def run(
    configuration: str | Path | Mapping[str, Any] = "demo",
    *,
    corpus: str | None = None,
    systems: str | Sequence[str] | None = None,
    folds: str | Sequence[int] | None = None,
    seeds: str | Sequence[int] | None = None,
    hyperparameters: "Mapping[str, HyperparameterValue] | None" = None,
    name: str | None = None,
    workers: int | None = None,
    storage: str | None = None,
    track: bool = True,
    progress: bool = True,
) -> "Result":
    """Run an experiment: whatever of it is not in the store yet.

    Args:
        configuration: a shipped one (`demo`, `paper`), a YAML file, or a mapping with the keys of one.
        corpus: name of a shipped or imported corpus.
        systems: rows of the table.
        folds: numbers, or text such as `all` or `1-3,5`.
        seeds: one run of every fold for each.
        hyperparameters: those that differ from the systems' defaults, such as `{"train.epochs": 10}`.
        name: of the experiment; by default that of its configuration.
        workers: stages at once; by default one for each CPU core.
        storage: folder or URI of the store.
        track: whether to write to MLflow.
        progress: whether to show the progress.

    Returns:
        The result, whose frames, figures and report hold what the complete runs show.

    Raises:
        UserError: something is not as it must be, or no run is complete.
    """
    from ifmmin.orchestrator import api

    changes = {"corpus": corpus, "systems": systems, "folds": folds, "seeds": seeds, "name": name, "storage": storage}
    return api.run(api.configure(configuration, changes, hyperparameters, workers), track=track, progress=progress)


def search(
    configuration: str | Path | Mapping[str, Any] = "search",
    *,
    space: Mapping[str, Any] | None = None,
    trials: int | None = None,
    corpus: str | None = None,
    systems: str | Sequence[str] | None = None,
    folds: str | Sequence[int] | None = None,
    seeds: str | Sequence[int] | None = None,
    hyperparameters: "Mapping[str, HyperparameterValue] | None" = None,
    name: str | None = None,
    workers: int | None = None,
    storage: str | None = None,
    resume: bool = False,
    track: bool = True,
    progress: bool = True,
) -> "SearchResult":
    """Search hyperparameters by cross-validation, on validation sets alone.

    Args:
        configuration: the shipped one (`search`), a YAML file, or a mapping with the keys of one.
        space: by hyperparameter a range, such as `{"low": 0.1, "high": 1000, "log": True}`, or a list of values.
        trials: choices of hyperparameters.
        systems: the one system to search.
        resume: whether to continue the search of that name.

    The other arguments are those of `run`.

    Raises:
        UserError: something is not as it must be, or there is a search of that name and it is not to be resumed.
    """
    from ifmmin.orchestrator import api

    changes: dict[str, Any] = {"corpus": corpus, "systems": systems, "folds": folds, "seeds": seeds, "name": name}
    changes["storage"] = storage
    search_keys = {key: value for key, value in (("space", space), ("trials", trials)) if value is not None}
    changes["search"] = search_keys or None
    chosen = api.configure(configuration, changes, hyperparameters, workers)
    return api.search(chosen, resume=resume, track=track, progress=progress)


def load(name: str, *, storage: str = STORAGE, against: str | Sequence[str] = ()) -> "Result | SearchResult":
    """The result of an experiment or a search that ran.

    Args:
        against: the system that the others are compared with, `published` for published accuracies, or both.

    Raises:
        UserError: the store has none of that name, or no run of it is complete.
    """
    from ifmmin.orchestrator import api

    return api.load(name, storage, [against] if isinstance(against, str) else against)


def predict(
    name: str,
    inputs: str | Path,
    *,
    system: str | None = None,
    fold: int | None = None,
    seed: int | None = None,
    every_condition: bool = False,
    storage: str = STORAGE,
) -> "pd.DataFrame":
    """Predict new utterances, with any modalities missing, by the mean of the trained runs of a system.

    Args:
        name: of an experiment that ran.
        inputs: a folder laid out as for `import_table`, without labels; a missing file is a missing modality.
        system: whose runs to ask; by default the experiment's first.
        fold, seed: of the runs to ask; by default all.
        every_condition: whether to predict also as if more were missing.

    Returns:
        Columns utterance, condition, prediction, and `p_CLASS` for each class.

    Raises:
        UserError: there is no such run, or the inputs are not as the layout or the corpus has them.
    """
    from ifmmin.orchestrator import workflows
    from ifmmin.orchestrator.experiment import Experiment

    experiment = Experiment.recorded(name, storage)
    runs = workflows.choose_runs(experiment, system, fold, seed)
    return workflows.predict(experiment, runs, Path(inputs), every_condition=every_condition)


def train(
    system: str,
    corpus: str,
    *,
    fold: int = 1,
    seed: int = 0,
    hyperparameters: "Mapping[str, HyperparameterValue] | None" = None,
    storage: str = STORAGE,
) -> "RunResult":
    """Train and evaluate one run in this process, without Ray and MLflow; nothing is written.

    Raises:
        UserError: the system, the corpus, the fold or a hyperparameter is not known or not possible.
    """
    from ifmmin.orchestrator import api

    changes = {"systems": system, "corpus": corpus, "folds": [fold], "seeds": [seed], "storage": storage}
    return api.train(api.configure({"name": "train"}, changes, hyperparameters, None))


def open_corpus(name: str, *, storage: str = STORAGE) -> "Corpus":
    """A shipped or imported corpus.

    Raises:
        UserError: there is none of that name, or it is damaged.
    """
    from ifmmin.data.catalogue import find_corpus

    return find_corpus(name, storage)


def import_mmin(root: str | Path, name: str, *, storage: str = STORAGE, **options: Any) -> "Corpus":
    """Import the layout of the MMIN authors' features; see `data.layouts.mmin.import_mmin` for the options.

    Raises:
        UserError: a file is not as the layout says, the audit finds an error, or the name is taken.
    """
    from ifmmin.data.catalogue import folder_for, keep_corpus
    from ifmmin.data.layouts.mmin import import_mmin as read

    folder_for(name, storage)  # a name that cannot be used is refused before the files are read
    return keep_corpus(*read(Path(root), name, **options), storage)


def import_mmsa(file: str | Path, name: str, *, storage: str = STORAGE, **options: Any) -> "Corpus":
    """Import a pickle of the MMSA toolkit, as data; see `data.layouts.mmsa.import_mmsa` for the options.

    Raises:
        UserError: the file is not as the layout says, the audit finds an error, or the name is taken.
    """
    from ifmmin.data.catalogue import folder_for, keep_corpus
    from ifmmin.data.layouts.mmsa import import_mmsa as read

    folder_for(name, storage)  # a name that cannot be used is refused before the files are read
    return keep_corpus(*read(Path(file), name, **options), storage)


def import_table(root: str | Path, name: str, *, storage: str = STORAGE, **options: Any) -> "Corpus":
    """Import a corpus of tables and arrays; see `data.layouts.table.import_table` for layout and options.

    Raises:
        UserError: a file is not as the layout says, the audit finds an error, or the name is taken.
    """
    from ifmmin.data.catalogue import folder_for, keep_corpus
    from ifmmin.data.layouts.table import import_table as read

    folder_for(name, storage)  # a name that cannot be used is refused before the files are read
    return keep_corpus(*read(Path(root), name, **options), storage)
