"""How accuracy falls as more and more is missing: curves and the areas under them, from evaluations under protocols."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ifmmin.orchestrator.analysis.scores import METRICS, RUN, measure
from ifmmin.orchestrator.analysis.statistics import intervals
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.catalogue import catalogue
from ifmmin.orchestrator.planning.plan import Plan, Run, protocol_plan
from ifmmin.orchestrator.store import Store


def complete_protocols(experiment: Experiment, runs: Sequence[Run]) -> list[str]:
    """The protocols under which the evaluations of all these runs are in the store."""
    protocols = list(catalogue().protocols)
    plan = protocol_plan(experiment.plan, runs, protocols)
    missing = plan.stages.keys() - experiment.store.completed(plan.stages)
    return [name for name in protocols if not any(run.stages[name] in missing for run in plan.runs)]


def load_curves(plan: Plan, store: Store) -> pd.DataFrame:
    """The metrics of every run at every rate of the protocols, from 0 to 1.

    Columns: protocol, system, fold, seed, rate, wa, ua.

    Args:
        plan: of `planning.plan.protocol_plan`, all of it in the store.
    """
    rows = []
    for run in plan.runs:
        for protocol, key in run.stages.items():
            predictions = store.read_table(key, "predictions").to_pandas()
            for rate, part in predictions.groupby("rate"):
                rows.append((protocol, run.system, run.fold, run.seed, rate, *measure(part)))
    return pd.DataFrame(rows, columns=["protocol", *RUN, "rate", *METRICS])


def areas(curves: pd.DataFrame) -> pd.DataFrame:
    """The area under every run's curve by the trapezoidal rule, over the width of its rates: a mean accuracy.

    Columns: system, fold, seed, condition (the protocol), wa, ua; as of `analysis.scores.score`.
    """
    rows = []
    for (protocol, *run), part in curves.sort_values("rate", kind="stable").groupby(["protocol", *RUN], sort=False):
        width = part["rate"].iloc[-1] - part["rate"].iloc[0]
        rows.append((*run, protocol, *(np.trapezoid(part[metric], part["rate"]) / width for metric in METRICS)))
    return pd.DataFrame(rows, columns=[*RUN, "condition", *METRICS])


def area_table(curves: pd.DataFrame, share: float) -> pd.DataFrame:
    """Mean areas with confidence intervals within 0 and 1. Columns: protocol, system, metric, area, low, high."""
    frame = intervals(areas(curves), share).rename(columns={"condition": "protocol", "mean": "area"})
    frame[["low", "high"]] = frame[["low", "high"]].clip(0, 1)
    order = {name: index for index, name in enumerate(catalogue().protocols)}
    frame = frame.sort_values("protocol", key=lambda names: names.map(order), kind="stable")
    return frame[["protocol", "system", "metric", "area", "low", "high"]].reset_index(drop=True)


def curve_intervals(curves: pd.DataFrame, share: float) -> pd.DataFrame:
    """Mean and confidence interval at every rate. Columns: protocol, system, metric, rate, mean, low, high."""
    parts = []
    for protocol, part in curves.groupby("protocol", sort=False):
        estimates = intervals(part.rename(columns={"rate": "condition"}), share)
        parts.append(estimates.rename(columns={"condition": "rate"}).assign(protocol=protocol))
    return pd.concat(parts, ignore_index=True)
