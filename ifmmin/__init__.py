"""Cross-validation of missing-modality emotion recognition models on Ray, with results in MLflow.

    import ifmmin

    result = ifmmin.run("demo", hyperparameters={"lambda2": 50})
    result.table

The functions here use the words of the command line and raise `UserError`, in one sentence, where it prints an error.
Importing this package imports nothing heavy; each function imports what it needs.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifmmin.data.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from ifmmin.data.audit import Finding
    from ifmmin.data.corpus import Corpus
    from ifmmin.model.hyperparameters import HyperparameterValue
    from ifmmin.orchestrator.api import Result, RunResult, SearchResult

__all__ = [
    "UserError",
    "import_mmin",
    "import_mmsa",
    "import_recordings",
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
    train_missing: float | Mapping[str, float] | None = None,
    name: str | None = None,
    workers: int | None = None,
    storage: str | None = None,
    track: bool = True,
    progress: bool = True,
) -> "Result":
    """Run the stages of an experiment that the store lacks, and return its result.

    Args:
        configuration: a shipped one (`demo`, `paper`), a YAML file, or a mapping with the keys of one.
        corpus: name of a shipped or imported corpus.
        systems: rows of the table.
        folds: numbers, or text such as `all` or `1-3,5`.
        seeds: each adds one run of every fold.
        hyperparameters: those that differ from the systems' defaults, such as `{"train.epochs": 10}`.
        train_missing: rate at which modalities are removed from training utterances, or a rate by modality.
        name: of the experiment; by default that of its configuration.
        workers: stages that run at once; by default one for each CPU core.
        storage: folder or URI of the store.
        track: whether to write to MLflow.
        progress: whether to show the progress.

    Returns:
        The result, whose frames, figures and report hold what the complete runs show.

    Raises:
        UserError: the configuration or the corpus is not valid, or no run is complete.
    """
    from ifmmin.orchestrator import api

    changes: dict[str, Any] = {"corpus": corpus, "systems": systems, "folds": folds, "seeds": seeds, "name": name}
    changes |= {"storage": storage, "train_missing": train_missing}
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
        configuration: the shipped `search`, a YAML file, or a mapping with the keys of one.
        space: by hyperparameter a range, such as `{"low": 0.1, "high": 1000, "log": True}`, or a list of values.
        trials: number of trials.
        corpus: name of a shipped or imported corpus.
        systems: the one system to search.
        folds: numbers, or text such as `all` or `1-3,5`.
        seeds: each adds one run of every fold to a trial.
        hyperparameters: fixed ones that differ from the system's defaults.
        name: of the search; by default that of its configuration.
        workers: stages that run at once; by default one for each CPU core.
        storage: folder or URI of the store.
        resume: whether to continue the search of that name.
        track: whether to write to MLflow.
        progress: whether to show the progress.

    Returns:
        The result, with the trials, their figures and the best hyperparameters.

    Raises:
        UserError: the configuration or the corpus is not valid, or a search of that name exists and `resume` is false.
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
        name: of the experiment or search.
        storage: folder or URI of the store.
        against: the system that the others are compared with, `published` for published accuracies, or both.

    Returns:
        The result, as `run` or `search` returned it.

    Raises:
        UserError: the store has no experiment or search of that name, or none of its runs is complete.
    """
    from ifmmin.orchestrator import api

    return api.load(name, storage, [against] if isinstance(against, str) else against)


def predict(
    name: str,
    inputs: str | Path | None = None,
    *,
    recordings: str | Path | Sequence[str | Path] | None = None,
    every: float | None = None,
    extract: Mapping[str, str] | None = None,
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
        recordings: instead of inputs, files or folders of recordings, for a corpus that was made from recordings.
        every: seconds of the windows into which recordings are cut.
        extract: by letter, extractors whose models lie elsewhere on this machine than on that of the import.
        system: whose runs predict; by default the experiment's first.
        fold: of the runs; by default all.
        seed: of the runs; by default all.
        every_condition: whether to predict also as if more modalities were missing.
        storage: folder or URI of the store.

    Returns:
        Columns utterance, condition, prediction, and `p_CLASS` for each class; of windows recording, start and end in
        seconds instead of utterance.

    Raises:
        UserError: there is no such run, or the inputs do not follow the layout or do not fit the corpus.
    """
    from ifmmin.orchestrator import workflows
    from ifmmin.orchestrator.experiment import Experiment

    if (inputs is None) == (recordings is None):
        raise UserError("Give either inputs, a folder of features, or recordings.")
    experiment = Experiment.recorded(name, storage)
    runs = workflows.choose_runs(experiment, system, fold, seed)
    if inputs is not None:
        return workflows.predict(experiment, runs, Path(inputs), every_condition=every_condition)
    from ifmmin.data.recordings.clips import find_clips, windows

    paths = [recordings] if isinstance(recordings, str | Path) else recordings or []
    clips = find_clips(map(Path, paths))
    if every is None:
        return workflows.predict_recordings(
            experiment, runs, clips, extractors=extract, every_condition=every_condition
        )
    parts = {clip.utterance: windows(clip, every) for clip in clips}
    return workflows.predict_timelines(experiment, runs, parts, extractors=extract)


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

    Args:
        system: name of the system.
        corpus: name of a shipped or imported corpus.
        fold: number of the fold.
        seed: of all random draws.
        hyperparameters: those that differ from the system's defaults.
        storage: folder or URI of the store that the corpus is in.

    Returns:
        The weights, history, predictions and scores of the run.

    Raises:
        UserError: the system, the corpus, the fold or a hyperparameter is unknown or not valid.
    """
    from ifmmin.orchestrator import api

    changes = {"systems": system, "corpus": corpus, "folds": [fold], "seeds": [seed], "storage": storage}
    return api.train(api.configure({"name": "train"}, changes, hyperparameters, None))


def open_corpus(name: str, *, storage: str = STORAGE) -> "Corpus":
    """Open a shipped or imported corpus.

    Args:
        name: of the corpus.
        storage: folder or URI of the store that an imported corpus is in.

    Raises:
        UserError: no corpus has that name, or it is damaged.
    """
    from ifmmin.data.catalogue import find_corpus

    return find_corpus(name, storage)


def import_mmin(root: str | Path, name: str, *, storage: str = STORAGE, **options: Any) -> "Corpus":
    """Import the layout of the MMIN authors' features.

    Args:
        root: the folder that holds A, V, L and target.
        name: of the new corpus.
        storage: folder or URI of the store.
        **options: `fix_folds`, and those that all imports share: `classes`, `merge`, `drop`, `split_by`, `folds_from`,
            `validation_from_train`, `seed`, `leave_out`, `speaker_pattern`, `dialogue_pattern`.

    Returns:
        The corpus in the store.

    Raises:
        UserError: a file does not follow the layout, the audit finds an error, or the name is taken.
    """
    from ifmmin.data.layouts.mmin import import_mmin as read

    return _import(read, root, name, storage, options)


def import_mmsa(file: str | Path, name: str, *, storage: str = STORAGE, **options: Any) -> "Corpus":
    """Import a pickle of the MMSA toolkit, as data.

    Args:
        file: the pickle file; no code in it is executed.
        name: of the new corpus.
        storage: folder or URI of the store.
        **options: `edges`, and those that all imports share, as for `import_mmin`.

    Returns:
        The corpus in the store.

    Raises:
        UserError: the file is not as the layout says, the audit finds an error, or the name is taken.
    """
    from ifmmin.data.layouts.mmsa import import_mmsa as read

    return _import(read, file, name, storage, options)


def import_table(root: str | Path, name: str, *, storage: str = STORAGE, **options: Any) -> "Corpus":
    """Import a corpus of tables and arrays.

    Args:
        root: the folder that holds the table of utterances and the features.
        name: of the new corpus.
        storage: folder or URI of the store.
        **options: `modalities`, and those that all imports share, as for `import_mmin`.

    Returns:
        The corpus in the store.

    Raises:
        UserError: a file does not follow the layout, the audit finds an error, or the name is taken.
    """
    from ifmmin.data.layouts.table import import_table as read

    return _import(read, root, name, storage, options)


def import_recordings(
    folder: str | Path,
    name: str,
    *,
    layout: str | None = None,
    extract: Mapping[str, str] | None = None,
    allow_failures: str | int = 0,
    workers: int | None = None,
    progress: bool = True,
    storage: str = STORAGE,
    **options: Any,
) -> "Corpus":
    """Extract the features of recordings on all cores and GPUs, and make a corpus of them; call it again to resume.

    Args:
        folder: a raw corpus, or recordings of your own with a table `recordings.csv`.
        name: of the new corpus.
        layout: of the folder, such as `iemocap`; by default it is recognised.
        extract: extractors by the letters of modalities, such as `{"a": "comparE"}`; by default one for each of sound,
            pictures and text that there is.
        allow_failures: how many clips may fail, a number or a percentage such as `3%`; those lack the modality.
        workers: clips that are computed at once; by default one for each CPU core.
        progress: whether to show the progress.
        storage: folder or URI of the store.
        **options: those of `data.selection.Selection`: classes, folds and what is left out.

    Returns:
        The corpus in the store.

    Raises:
        UserError: the folder does not follow a layout, an extractor is unknown, more clips fail than may, the audit
            finds an error, or the name is taken.
    """
    from ifmmin.data.paths import expand
    from ifmmin.orchestrator import api

    chosen = {"layout": layout, "extract": extract, "allow_failures": allow_failures, "workers": workers}
    return api.import_recordings(Path(expand(str(folder))), name, storage, {**options, **chosen}, progress)


def _import(
    read: "Callable[..., tuple[Corpus, list[Finding]]]",
    source: str | Path,
    name: str,
    storage: str,
    options: Mapping[str, Any],
) -> "Corpus":
    from ifmmin.data.catalogue import folder_for, keep_corpus
    from ifmmin.data.paths import expand

    folder_for(name, storage)  # a name that cannot be used is refused before the files are read
    return keep_corpus(*read(Path(expand(str(source))), name, **options), storage)
