"""What came out of an experiment: predictions, scores, and their summary over the runs, as data frames."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from ifmmin.data.conditions import ALL_CONDITIONS, MISSING_CONDITIONS
from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy
from ifmmin.orchestrator.planning.plan import Plan, Run
from ifmmin.orchestrator.store import Store

AVERAGE = "average"
"""The mean over the six missing conditions, which stands beside the conditions in every table."""

COLUMNS: tuple[str, ...] = (*MISSING_CONDITIONS, AVERAGE, ALL_CONDITIONS[-1])
"""The conditions as the tables show them."""


@dataclass(frozen=True)
class Results:
    """What the complete runs of an experiment came to; see the functions of this module for the columns."""

    runs: list[Run]
    predictions: pd.DataFrame
    history: pd.DataFrame
    scores: pd.DataFrame
    summary: pd.DataFrame
    times: pd.DataFrame

    @property
    def systems(self) -> list[str]:
        """Those with a complete run, in table order."""
        return list(dict.fromkeys(run.system for run in self.runs))

    @property
    def seconds(self) -> dict[str, tuple[float, float]]:
        """By system the seconds of a run and of all runs, see `load_times`."""
        rows = zip(self.times["system"], self.times["run_seconds"], self.times["total_seconds"], strict=True)
        return {str(system): (float(run), float(total)) for system, run, total in rows}

    def of(self, system: str) -> "Results":
        """The part of one system."""
        runs = [run for run in self.runs if run.system == system]
        frames = (self.predictions, self.history, self.scores, self.summary, self.times)
        predictions, history, scores, summary, times = (frame[frame["system"] == system] for frame in frames)
        return Results(runs, predictions, history.dropna(axis=1, how="all"), scores, summary, times)


def load_results(plan: Plan, store: Store) -> Results | None:
    """Everything in the store about the runs that are complete, or None if none is."""
    runs = completed_runs(plan, store)
    if not runs:
        return None
    predictions = load_predictions(runs, store)
    scores = score(predictions)
    return Results(runs, predictions, load_history(runs, store), scores, summarise(scores), load_times(runs, store))


def completed_runs(plan: Plan, store: Store) -> list[Run]:
    """The runs whose evaluation is in the store, in plan order."""
    completed = store.completed(run.evaluation for run in plan.runs)
    return [run for run in plan.runs if run.evaluation in completed]


def load_predictions(runs: Iterable[Run], store: Store) -> pd.DataFrame:
    """Test predictions of these runs, a row for each run, condition and utterance.

    Columns: system, fold, seed, utterance, condition, label, prediction, probabilities (a vector over the classes).
    """
    return _concatenate([_of_run(run, store, run.evaluation, "predictions") for run in runs])


def load_history(runs: Iterable[Run], store: Store) -> pd.DataFrame:
    """What every epoch of these runs came to, a row for each run, stage and epoch.

    Columns: system, fold, seed, stage, epoch, learning_rate, `loss/<term>` (NaN where a stage has no such term),
    validation/wa, validation/ua, seconds.
    """
    frames = []
    for run in runs:
        for name, key in run.stages.items():
            if key != run.evaluation:
                frame = _of_run(run, store, key, "history")
                frame.insert(3, "stage", name)
                frames.append(frame)
    return _concatenate(frames)


def load_times(runs: Iterable[Run], store: Store) -> pd.DataFrame:
    """How long the stages of these runs took, each on one worker: a row for each system in the order of the runs.

    Columns: system, runs, run_seconds (mean over the runs of all their stages), total_seconds (of all different stages,
    also of those that other systems share).
    """
    stages: dict[str, dict[str, float]] = {}
    runs = list(runs)
    for run in runs:
        known = stages.setdefault(run.system, {})
        known.update((key, store.read_record(key)["seconds"]) for key in run.stages.values() if key not in known)
    counts = Counter(run.system for run in runs)
    rows = [(system, counts[system], sum(known.values())) for system, known in stages.items()]
    frame = pd.DataFrame(rows, columns=["system", "runs", "total_seconds"])
    frame.insert(2, "run_seconds", frame["total_seconds"] / frame["runs"])
    return frame


def score(predictions: pd.DataFrame) -> pd.DataFrame:
    """WA and UA, from 0 to 1, of every run in each condition, and their mean over the six missing conditions.

    Columns: system, fold, seed, condition (of `COLUMNS`), wa, ua.
    """
    rows = [
        (
            *group,
            weighted_accuracy(part["label"], part["prediction"]),
            unweighted_accuracy(part["label"], part["prediction"]),
        )
        for group, part in predictions.groupby(["system", "fold", "seed", "condition"], sort=False)
    ]
    scores = pd.DataFrame(rows, columns=["system", "fold", "seed", "condition", "wa", "ua"])
    missing = scores[scores["condition"].isin(MISSING_CONDITIONS)]
    average = missing.groupby(["system", "fold", "seed"], sort=False)[["wa", "ua"]].mean().reset_index()
    return pd.concat([scores, average.assign(condition=AVERAGE)[scores.columns]], ignore_index=True)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of WA and UA over the runs of a system, in table order.

    Columns: system, condition, runs, folds, seeds, wa, wa_std, ua, ua_std; deviations are NaN for a single run.
    """
    summary = (
        scores.groupby(["system", "condition"], sort=False)
        .agg(
            runs=("wa", "size"),
            folds=("fold", "nunique"),
            seeds=("seed", "nunique"),
            wa=("wa", "mean"),
            wa_std=("wa", "std"),
            ua=("ua", "mean"),
            ua_std=("ua", "std"),
        )
        .reset_index()
    )
    order = {condition: index for index, condition in enumerate(COLUMNS)}
    systems = {system: index for index, system in enumerate(dict.fromkeys(scores["system"]))}
    keys = summary["system"].map(systems) * len(order) + summary["condition"].map(order)
    return summary.iloc[keys.argsort()].reset_index(drop=True)


def _of_run(run: Run, store: Store, key: str, table: str) -> pd.DataFrame:
    frame: pd.DataFrame = store.read_table(key, table).to_pandas()
    frame.insert(0, "system", run.system)
    frame.insert(1, "fold", run.fold)
    frame.insert(2, "seed", run.seed)
    return frame


def _concatenate(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
