"""What MLflow is told of systems and runs, as plain values: names, parameters, measurements. `tracking` writes it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from ifmmin.data.corpus import Corpus
from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.orchestrator.analysis.scores import AVERAGE
from ifmmin.orchestrator.planning.configuration import Configuration
from ifmmin.orchestrator.planning.plan import Plan, Stage, make_plan


class Measurement(NamedTuple):
    """One value of a metric; fractions are from 0 to 1, `step` is an epoch, or 0 where there is one value only."""

    name: str
    value: float
    time_ms: int
    step: int


def describe_parameters(configuration: Configuration, plan: Plan, corpus: Corpus, system: str) -> dict[str, str]:
    """The hyperparameters of a system, and what else its results depend on."""
    runs = plan.runs_of(system)
    stages = [plan.stages[key] for key in runs[0].stages.values()]
    return {
        "system": system,
        **_hyper_parameters(plan, system),
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint,
        "folds": write_numbers(run.fold for run in runs),
        "seeds": write_numbers(run.seed for run in runs),
        "precision": configuration.compute.precision,
        **({"best_of": configuration.best_of} if configuration.best_of else {}),
        "code_version": ", ".join(dict.fromkeys(f"{_kind(stage)} {stage.version}" for stage in stages)),
    }


def describe_settings(configuration: Configuration, plan: Plan, corpus: Corpus, system: str) -> dict[str, str]:
    """The hyperparameters of a system that are not its own; named without stage where all stages have the same."""
    own = _hyper_parameters(make_plan(configuration.model_copy(update={"hyperparameters": {}}), corpus), system)
    actual = _hyper_parameters(plan, system)
    variants: defaultdict[str, set[str]] = defaultdict(set)
    for name, value in actual.items():
        variants[_without_stage(name)].add(value)
    return {
        _without_stage(name) if len(variants[_without_stage(name)]) == 1 else name: value
        for name, value in actual.items()
        if value != own[name]
    }


def name_with(system: str, settings: Mapping[str, str]) -> str:
    """What a parent run is called.

    >>> name_with("if-mmin", {"lambda2": "50"})
    'if-mmin lambda2=50'
    """
    return " ".join([system, *(f"{name}={value}" for name, value in settings.items())])


def measure_scores(scores: pd.DataFrame, time_ms: int) -> list[Measurement]:
    """`test/wa/<condition>` and so on, from the columns wa, wa_std, ua, ua_std of scores or of a summary.

    The average comes first, which is what MLflow's pages then show first.
    """
    ordered = scores.sort_values("condition", key=lambda names: names != AVERAGE, kind="stable")
    return [
        Measurement(f"test/{column}/{condition}", float(value), time_ms, 0)
        for column in ("wa", "ua", "wa_std", "ua_std")
        if column in ordered
        for condition, value in zip(ordered["condition"], ordered[column], strict=True)
        if pd.notna(value)
    ]


def measure_history(history: pd.DataFrame, start_ms: int) -> list[Measurement]:
    """`<stage>/loss/<term>` and so on, for every epoch of one run, which started at that time."""
    times = start_ms + 1000 * history["seconds"].cumsum()
    return _curves(history, ("loss/", "validation/", "learning_rate"), times.round().astype(int))


def measure_mean_history(history: pd.DataFrame, time_ms: int) -> list[Measurement]:
    """Losses and validation scores of a system's stages, for every epoch the mean over runs.

    A pretraining that others follow is left to the single runs: MLflow lists metrics by name, and those of `pretrain`
    would stand before the scores.
    """
    final = history[history["stage"] != "pretrain"]
    means = (
        (final if len(final) else history).groupby(["stage", "epoch"], sort=False).mean(numeric_only=True).reset_index()
    )
    return _curves(means, ("loss/", "validation/"), pd.Series(time_ms, means.index))


def write_numbers(numbers: Iterable[int]) -> str:
    """Whole numbers as configurations take them, see `planning.configuration.parse_numbers`.

    >>> write_numbers([1, 2, 3, 5, 3])
    '1-3,5'
    """
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _curves(history: pd.DataFrame, columns: tuple[str, ...], times_ms: pd.Series) -> list[Measurement]:
    return [
        Measurement(f"{stage}/{column}", float(value), int(time_ms), int(epoch))
        for column in history.columns
        if column.startswith(columns)
        for stage, epoch, value, time_ms in zip(
            history["stage"], history["epoch"], history[column], times_ms, strict=True
        )
        if pd.notna(value)
    ]


def _kind(stage: Stage) -> str:
    return stage.definition if stage.action == "train" else stage.action


def _hyper_parameters(plan: Plan, system: str) -> dict[str, str]:
    return {name: write_number(value) for name, value in plan.hyperparameters[system].items()}


def _without_stage(name: str) -> str:
    return name.rpartition(".")[2]


def write_number(value: HyperparameterValue) -> str:
    """100.0 is written as 100, which is how it is set and searched for."""
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return str(int(value)) if value == int(value) else repr(value)
