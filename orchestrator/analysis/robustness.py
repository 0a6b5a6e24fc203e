"""How accuracy falls as more and more is missing: curves and the areas under them, from evaluations under protocols."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy
from ifmmin.model.protocols import PROTOCOLS
from ifmmin.orchestrator.analysis.statistics import intervals
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import Plan, Run, protocol_plan
from ifmmin.orchestrator.reporting.drawing import COLOURS, LINES, MARKERS, Drawing, panels
from ifmmin.orchestrator.reporting.tables import METRICS
from ifmmin.orchestrator.store import Store

_RUN = ["protocol", "system", "fold", "seed"]


def load_curves(plan: Plan, store: Store) -> pd.DataFrame:
    """WA and UA, from 0 to 1, of every run at every rate of the protocols.

    Columns: protocol, system, fold, seed, rate, wa, ua.

    Args:
        plan: of `planning.plan.protocol_plan`, all of it in the store.
    """
    rows = []
    for run in plan.runs:
        for protocol, key in run.stages.items():
            predictions = store.read_table(key, "predictions").to_pandas()
            for rate, part in predictions.groupby("rate"):
                truth, found = part["label"], part["prediction"]
                scores = weighted_accuracy(truth, found), unweighted_accuracy(truth, found)
                rows.append((protocol, run.system, run.fold, run.seed, rate, *scores))
    return pd.DataFrame(rows, columns=[*_RUN, "rate", "wa", "ua"])


def complete_protocols(experiment: Experiment, runs: Sequence[Run]) -> list[str]:
    """The protocols under which the evaluations of all these runs are in the store."""
    plan = protocol_plan(experiment.plan, runs, list(PROTOCOLS))
    missing = plan.stages.keys() - experiment.store.completed(plan.stages)
    return [name for name in PROTOCOLS if not any(run.stages[name] in missing for run in plan.runs)]


def areas(curves: pd.DataFrame) -> pd.DataFrame:
    """The area under every run's curve by the trapezoidal rule, over the width of its rates: a mean accuracy.

    Columns: system, fold, seed, condition (the protocol), wa, ua; as of `analysis.scores.score`.
    """
    rows = []
    for (protocol, *run), part in curves.sort_values("rate", kind="stable").groupby(_RUN, sort=False):
        width = part["rate"].iloc[-1] - part["rate"].iloc[0]
        rows.append((*run, protocol, *(np.trapezoid(part[m], part["rate"]) / width for m in METRICS.values())))
    return pd.DataFrame(rows, columns=["system", "fold", "seed", "condition", "wa", "ua"])


def area_table(curves: pd.DataFrame, share: float) -> pd.DataFrame:
    """Mean areas with confidence intervals within 0 and 1. Columns: protocol, system, metric, area, low, high."""
    frame = intervals(areas(curves), share).rename(columns={"condition": "protocol", "mean": "area"})
    frame[["low", "high"]] = frame[["low", "high"]].clip(0, 1)
    order = {name: index for index, name in enumerate(PROTOCOLS)}
    frame = frame.sort_values("protocol", key=lambda names: names.map(order), kind="stable")
    return frame[["protocol", "system", "metric", "area", "low", "high"]].reset_index(drop=True)


def robustness_curves(curves: pd.DataFrame, share: float) -> Drawing:
    """WA above UA over the rate of what is missing, a column for each protocol, a line with a band for each system."""
    protocols = [name for name in PROTOCOLS if name in set(curves["protocol"])]
    figure, axes = panels(2, len(protocols), width=4.4, height=3.0)
    for row, (name, metric) in enumerate(METRICS.items()):
        for column, protocol in enumerate(protocols):
            panel = axes[row * len(protocols) + column]
            own = curves[curves["protocol"] == protocol].rename(columns={"rate": "condition"})
            estimates = intervals(own, share)
            estimates = estimates[estimates["metric"] == metric]
            for index, (system, part) in enumerate(estimates.groupby("system", sort=False)):
                rates, mean, low, high = (part[key].to_numpy(float) for key in ("condition", "mean", "low", "high"))
                colour = COLOURS[index % len(COLOURS)]
                panel.plot(
                    rates,
                    100 * mean,
                    color=colour,
                    linestyle=LINES[index % len(LINES)],
                    marker=MARKERS[index % len(MARKERS)],
                    markersize=4,
                    label=str(system),
                )
                if np.isfinite(low).all():
                    panel.fill_between(rates, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
            panel.set(ylim=(0, 100), xlabel="rate" if row else "", ylabel="" if column else f"{name}, %")
            panel.set_title("" if row else protocol)
            panel.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=9)
    what = "; ".join(f"{name}: {PROTOCOLS[name].summary}" for name in protocols)
    caption = (
        f"Test accuracy over the rate of what is missing ({what}). Lines are means over the runs, bands 95% confidence "
        "intervals by the corrected resampled t-test; a single run has none. At rate 0 all is at hand, as in avt."
    )
    return Drawing("robustness_curves", figure, caption)
