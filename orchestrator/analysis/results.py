"""The stored results of an experiment's complete runs, as data frames."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from ifmmin.orchestrator.analysis.scores import score, summarise
from ifmmin.orchestrator.planning.plan import Plan, Run
from ifmmin.orchestrator.store import Store


@dataclass(frozen=True)
class Results:
    """The results of complete runs.

    Attributes:
        runs: in plan order.
        predictions, history, times: of `load_predictions`, `load_history` and `load_times`.
        scores, summary: of `analysis.scores.score` and `summarise`.
    """

    runs: Sequence[Run]
    predictions: pd.DataFrame
    history: pd.DataFrame
    scores: pd.DataFrame
    summary: pd.DataFrame
    times: pd.DataFrame

    @property
    def systems(self) -> list[str]:
        """The systems with a complete run, in table order."""
        return list(dict.fromkeys(run.system for run in self.runs))

    @property
    def seconds(self) -> dict[str, tuple[float, float]]:
        """By system the seconds of a run and of all runs, see `load_times`."""
        rows = zip(self.times["system"], self.times["run_seconds"], self.times["total_seconds"], strict=True)
        return {str(system): (float(run), float(total)) for system, run, total in rows}

    def of(self, system: str) -> "Results":
        """The results of one system."""
        runs = [run for run in self.runs if run.system == system]
        frames = (self.predictions, self.history, self.scores, self.summary, self.times)
        predictions, history, scores, summary, times = (frame[frame["system"] == system] for frame in frames)
        return Results(runs, predictions, history.dropna(axis=1, how="all"), scores, summary, times)


def load_results(plan: Plan, store: Store, letters: Sequence[str]) -> Results | None:
    """The results of all complete runs, or None if there is no complete run.

    Args:
        letters: of the modalities of the corpus.
    """
    runs = completed_runs(plan, store)
    if not runs:
        return None
    predictions = load_predictions(runs, store)
    scores = score(predictions, letters)
    return Results(runs, predictions, load_history(runs, store), scores, summarise(scores), load_times(runs, store))


def completed_runs(plan: Plan, store: Store) -> list[Run]:
    """The runs whose evaluation is in the store, in plan order."""
    completed = store.completed(run.evaluation for run in plan.runs)
    return [run for run in plan.runs if run.evaluation in completed]


def load_predictions(runs: Iterable[Run], store: Store) -> pd.DataFrame:
    """Test predictions of runs, a row for each run, condition and utterance that has the condition's modalities.

    Columns: system, fold, seed, utterance, condition, label, prediction, probabilities (a vector over the classes).
    """
    return _concatenate([_read(run, store, run.evaluation, "predictions") for run in runs])


def load_history(runs: Iterable[Run], store: Store) -> pd.DataFrame:
    """Losses and validation scores of the training of runs, a row for each run, stage and epoch.

    Columns: system, fold, seed, stage, epoch, learning_rate, `loss/<term>` (NaN where a stage has no such term),
    validation/wa, validation/ua, seconds.
    """
    frames = []
    for run in runs:
        for name, key in run.stages.items():
            if key != run.evaluation:
                frame = _read(run, store, key, "history")
                frame.insert(3, "stage", name)
                frames.append(frame)
    return _concatenate(frames)


def load_times(runs: Sequence[Run], store: Store) -> pd.DataFrame:
    """How long the stages of runs took, each on one worker: a row for each system in the order of the runs.

    Columns: system, runs, run_seconds (mean over the runs of all their stages), total_seconds (of all different stages,
    also of those that other systems share).
    """
    stages: dict[str, dict[str, float]] = {}
    for run in runs:
        known = stages.setdefault(run.system, {})
        known.update((key, store.read_record(key)["seconds"]) for key in run.stages.values() if key not in known)
    counts = Counter(run.system for run in runs)
    rows = [(system, counts[system], sum(known.values())) for system, known in stages.items()]
    frame = pd.DataFrame(rows, columns=["system", "runs", "total_seconds"])
    frame.insert(2, "run_seconds", frame["total_seconds"] / frame["runs"])
    return frame


def _read(run: Run, store: Store, key: str, table: str) -> pd.DataFrame:
    frame: pd.DataFrame = store.read_table(key, table).to_pandas()
    frame.insert(0, "system", run.system)
    frame.insert(1, "fold", run.fold)
    frame.insert(2, "seed", run.seed)
    return frame


def _concatenate(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
