"""The numbers of a whole experiment, as two frozen values.

An `Analysis` is quick to compute and sufficient for tables; only a written report needs `Details`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ifmmin.data.errors import UserError, nearest
from ifmmin.orchestrator.analysis.calibration import calibrate
from ifmmin.orchestrator.analysis.embeddings import EmbeddedFeatures, embed_runs
from ifmmin.orchestrator.analysis.headline import Headline, headline
from ifmmin.orchestrator.analysis.published import published_summary
from ifmmin.orchestrator.analysis.results import Results
from ifmmin.orchestrator.analysis.robustness import area_table, complete_protocols, load_curves
from ifmmin.orchestrator.analysis.scores import pool
from ifmmin.orchestrator.analysis.statistics import Comparison, compare, share_tested
from ifmmin.orchestrator.analysis.subgroups import score_subgroups
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.catalogue import catalogue
from ifmmin.orchestrator.planning.plan import protocol_plan

PUBLISHED = "published"
"""Stands for the published accuracies among the systems to compare with."""


@dataclass(frozen=True)
class Analysis:
    """What the complete runs of an experiment show.

    Attributes:
        against: as passed to `analyse`.
        share: n_test / n_train, see `analysis.statistics`.
        headline: which system is best with one modality, with two, ..., in sentences.
        summary: that of the results, and published accuracies below them if requested.
        comparison: of the systems; None for a single one.
        protocols: those under which all runs were evaluated.
        curves, areas: of `analysis.robustness`; None without protocols.
    """

    experiment: Experiment
    results: Results
    against: tuple[str, ...]
    share: float
    headline: Headline
    summary: pd.DataFrame
    comparison: Comparison | None
    protocols: tuple[str, ...]
    curves: pd.DataFrame | None
    areas: pd.DataFrame | None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What else a reader of the table must know, in sentences without full stops."""
        stages = self.experiment.plan.stages.values()
        rates = next((stage.train_missing for stage in stages if stage.train_missing), None)
        if rates is None:
            return ()
        shares = ", ".join(f"{letter} {100 * rate:g} %" for letter, rate in rates.items())
        return (f"trained with modalities removed at random from the training utterances, one at least kept: {shares}",)

    @property
    def identity(self) -> str:
        """The same for the same runs, compared in the same way."""
        evaluations = [run.evaluation for run in self.results.runs]
        return hashlib.sha256(json.dumps([evaluations, self.against, self.protocols]).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Details:
    """What a report shows beyond the tables of an `Analysis`; of many conditions, groups of `analysis.scores.pool`.

    Attributes:
        calibration: of `analysis.calibration.calibrate`.
        subgroups, gaps: of `analysis.subgroups.score_subgroups`.
        embeddings: of `analysis.embeddings.embed_runs`.
    """

    calibration: pd.DataFrame
    subgroups: pd.DataFrame
    gaps: pd.DataFrame
    embeddings: Sequence[EmbeddedFeatures]


def analyse(experiment: Experiment, results: Results, against: Sequence[str] = ()) -> Analysis:
    """The analysis of the complete runs of an experiment.

    Args:
        against: the system that the others are compared with, `published` for published accuracies, or both. By
            default the reference of the project, or the last system where it is missing.

    Raises:
        UserError: there is no such system, or nothing is published for the corpus.
    """
    share = share_tested(experiment.corpus, sorted({run.fold for run in results.runs}))
    summary = results.summary
    if PUBLISHED in against:
        summary = pd.concat([summary, published_summary(experiment.corpus)], ignore_index=True)
    protocols = complete_protocols(experiment, results.runs)
    curves = None
    if protocols:
        curves = load_curves(protocol_plan(experiment.plan, results.runs, protocols), experiment.store)
    reference = _reference(results.systems, against)
    return Analysis(
        experiment=experiment,
        results=results,
        against=tuple(against),
        share=share,
        headline=headline(results.scores, reference, share),
        summary=summary,
        comparison=compare(results.scores, reference, share) if len(results.systems) > 1 else None,
        protocols=tuple(protocols),
        curves=curves,
        areas=None if curves is None else area_table(curves, share),
    )


def analyse_details(analysis: Analysis) -> Details:
    """The details, which take seconds to compute: a bootstrap over speakers, and t-SNE."""
    experiment, results = analysis.experiment, analysis.results
    predictions = pool(results.predictions)
    subgroups, gaps = score_subgroups(predictions, experiment.corpus)
    return Details(calibrate(predictions), subgroups, gaps, embed_runs(experiment, results.runs))


def details_of(details: Details, system: str) -> Details:
    """The details of one system."""

    def part(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["system"] == system]

    embeddings = [replace(kind, points=part(kind.points)) for kind in details.embeddings]
    return Details(
        calibration=part(details.calibration),
        subgroups=part(details.subgroups),
        gaps=part(details.gaps),
        embeddings=[kind for kind in embeddings if len(kind.points)],
    )


def _reference(systems: Sequence[str], against: Sequence[str]) -> str:
    chosen = [name for name in against if name != PUBLISHED]
    for name in chosen:
        if name not in systems:
            raise UserError(f"--against {name}: {nearest(name, [*systems, PUBLISHED])}")
    if chosen:
        return chosen[0]
    return catalogue().reference if catalogue().reference in systems else systems[-1]
