"""The answer of an experiment in sentences: which system is best with one modality, with two, ..., and by how much.

The best system is known only after looking, so p-values are corrected for all pairs of systems.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ifmmin.orchestrator.analysis.scores import conditions_in
from ifmmin.orchestrator.analysis.statistics import CONFIDENCE, SIGNIFICANT, Estimate, corrected_t, holm

METRIC = "wa"

_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Headline:
    """The answer in sentences.

    Attributes:
        sentences: one for each number of available modalities, the smallest first; none where no run is common to all
            systems.
        note: how their numbers were made, in a sentence.
    """

    sentences: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class _Lead:
    """By how much the best system is ahead of another one; `p` is corrected."""

    system: str
    difference: Estimate
    p: float

    @property
    def better(self) -> bool:
        """The test finds the best system better."""
        return self.p < SIGNIFICANT

    @property
    def untested(self) -> bool:
        """The best system is ahead in a single run, or by the same in every run, which allows no test."""
        return bool(np.isnan(self.p)) and _points(self) != "0.0"


def headline(scores: pd.DataFrame, reference: str, share: float) -> Headline:
    """Which system is best for every number of available modalities, over the runs that all systems have.

    The best is compared with the second best and with the reference; others are counted. A system alone is described by
    its scores.

    Args:
        scores: of `analysis.scores.score`.
        reference: the system that the others are compared with.
        share: n_test / n_train.
    """
    paired = _by_number(scores)
    numbers = [int(number) for number in paired.index.unique("available")]
    sentences = []
    for number in numbers:
        prefix = _prefix(number, max(numbers), first=number == numbers[0])
        sentences.append(f"{prefix}, {_finding(pd.DataFrame(paired.loc[number]), reference, share)}.")
    runs = len(paired) // max(len(numbers), 1)
    return Headline(tuple(sentences), _note(runs, len(paired.columns)))


def _by_number(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the conditions of each number of modalities: rows available, fold, seed; a column for each system."""
    conditions = scores[scores["condition"].isin(conditions_in(scores))]
    available = conditions["condition"].map(len).rename("available")
    means = conditions.pivot_table(METRIC, [available, "fold", "seed"], "system")
    return means[list(dict.fromkeys(scores["system"]))].dropna()


def _prefix(number: int, modalities: int, *, first: bool) -> str:
    if number < modalities:
        of = f" of {_NUMBERS[modalities]} modalities available" if first else ""
        return f"With {_NUMBERS[number]}{of}"
    available = {1: "its one modality", 2: "both"}.get(modalities, f"all {_NUMBERS[modalities]}")
    return f"With {available}"


def _finding(runs: pd.DataFrame, reference: str, share: float) -> str:
    """The sentence about one number of modalities, without its beginning and its full stop."""
    means = runs.mean()
    best = str(means.idxmax())
    score = f"{100 * means[best]:.1f} % {METRIC.upper()}"
    if len(runs.columns) == 1:
        estimate = corrected_t(runs[best], share)
        return f"{best} has {score}" + ("" if np.isnan(estimate.low) else f" ({_interval(estimate)})")
    leads = _leads(runs, best, share)
    named = _named(leads, reference)
    others = [lead for lead in leads if lead not in named]
    claims = _claims(named, others)
    unseen = [f"{lead.system} ({_detail(lead, points=True)})" for lead in named if not (lead.better or lead.untested)]
    if not claims:
        return f"no difference was seen between {best} ({score}) and {' or '.join(unseen)}"
    seen = f"{best} ({score}) is {_listed(claims)}"
    return f"{seen}; no difference was seen between {best} and {' or '.join(unseen)}" if unseen else seen


def _leads(runs: pd.DataFrame, best: str, share: float) -> list[_Lead]:
    """The best system against every other one, the nearest first."""
    pairs = list(combinations(runs.columns, 2))
    corrected = holm([corrected_t(runs[one] - runs[other], share).p for one, other in pairs])
    p = {frozenset(pair): float(value) for pair, value in zip(pairs, corrected, strict=True)}
    others = runs.mean().drop(best).sort_values(ascending=False, kind="stable").index
    return [
        _Lead(str(other), corrected_t(runs[best] - runs[other], share), p[frozenset((best, other))]) for other in others
    ]


def _named(leads: Sequence[_Lead], reference: str) -> list[_Lead]:
    """The second best system and the reference; and a third one that is the only other."""
    named = [lead for lead in leads if lead is leads[0] or lead.system == reference]
    return list(leads) if len(leads) == len(named) + 1 else named


def _claims(named: Sequence[_Lead], others: Sequence[_Lead]) -> list[str]:
    """What is said of the best system after "is"."""
    better = [f"than {lead.system} by {_points(lead)} points ({_detail(lead)})" for lead in named if lead.better]
    count = sum(lead.better for lead in others)
    if count:
        better.append(f"than {'all' if count == len(others) else f'{count} of the'} {len(others)} others")
    above = [f"{_points(lead)} points above {lead.system}" for lead in named if lead.untested]
    return [f"better {_listed(better)}"] * bool(better) + above


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _points(lead: _Lead) -> str:
    return f"{round(100 * lead.difference.mean, 1) + 0.0:.1f}"  # 0.0 for what rounds to zero from below


def _detail(lead: _Lead, *, points: bool = False) -> str:
    difference = [f"{_points(lead)} points"] if points else []
    if np.isnan(lead.p):
        return ", ".join(difference)
    return ", ".join([*difference, _interval(lead.difference), "p < 0.001" if lead.p < 0.001 else f"p = {lead.p:.3f}"])


def _interval(estimate: Estimate) -> str:
    return f"{CONFIDENCE:.0%} interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f}".replace("%", " %")


def _note(runs: int, systems: int) -> str:
    scores = f"{METRIC.upper()} is the mean over the conditions with that many modalities"
    if runs < 2:
        return f"{scores}; a single run allows neither interval nor test"
    pairs = systems * (systems - 1) // 2
    corrected = f", Holm-corrected for {pairs} pairs of systems" if pairs > 1 else ""
    of = "interval of the " if systems == 1 else ""
    return f"{scores} and over {runs} runs; {of}corrected resampled t-test{corrected}"
