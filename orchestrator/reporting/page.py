"""The page of a report: one self-contained HTML file."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import groupby

import numpy as np
import pandas as pd
import yaml

from ifmmin.orchestrator.analysis.calibration import expected_calibration_error
from ifmmin.orchestrator.analysis.experiment import Analysis, Details
from ifmmin.orchestrator.analysis.scores import METRICS, columns_in, conditions_in, panels_in
from ifmmin.orchestrator.analysis.statistics import SIGNIFICANT, Comparison
from ifmmin.orchestrator.analysis.subgroups import GAPS
from ifmmin.orchestrator.execution.pace import in_words
from ifmmin.orchestrator.reporting.corpus_page import corpus_section
from ifmmin.orchestrator.reporting.description import describe_system
from ifmmin.orchestrator.reporting.drawing import Drawing
from ifmmin.orchestrator.reporting.rendering import embed, render
from ifmmin.orchestrator.reporting.tables import (
    MARK,
    ConditionRow,
    count_of_conditions,
    is_grouped,
    make_blocks,
    make_condition_blocks,
    notes,
    written_counts,
)
from ifmmin.version import package_version

_LIBRARIES = ("torch", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "ray", "mlflow", "optuna")
SUBGROUP_METRIC = "ua"
"""Classes are seldom as frequent in all subgroups, which UA does not depend on."""


def render_page(
    analysis: Analysis,
    details: Details,
    drawings: Sequence[Drawing],
    of_systems: Mapping[str, Sequence[Drawing]],
    of_corpus: Sequence[Drawing],
) -> str:
    """The page of a report, as HTML.

    Args:
        drawings: the figures that compare systems.
        of_systems: the other figures of each system.
        of_corpus: the figures of the corpus.
    """
    experiment, results = analysis.experiment, analysis.results
    configuration, corpus = experiment.configuration, experiment.corpus
    return render(
        "report.html",
        by_size=_by_size,
        name=configuration.name,
        **corpus_section(corpus, of_corpus),
        complete=len(results.runs),
        planned=len(experiment.plan.runs),
        headline=analysis.headline,
        made=datetime.now(UTC),
        columns=columns_in(analysis.summary),
        missing=count_of_conditions(len(conditions_in(analysis.summary)) - 1),
        conditions=panels_in(details.calibration),
        grouped=is_grouped(analysis.summary),
        counts=written_counts(analysis.summary, columns_in(analysis.summary)),
        of_conditions=make_condition_blocks(results.summary, analysis.comparison),
        metrics=[metric.upper() for metric in METRICS],
        mark=MARK,
        significant=SIGNIFICANT,
        notes=". ".join(note[:1].upper() + note[1:] for note in notes(analysis.summary, None, analysis.remarks)),
        blocks=make_blocks(analysis.summary, analysis.comparison),
        comparison=analysis.comparison,
        differences=_differences(analysis.comparison),
        share=analysis.share,
        areas=_areas(analysis.areas),
        calibration=expected_calibration_error(details.calibration),
        subgroups=_subgroups(details, panels_in(details.calibration)),
        subgroup_metric=SUBGROUP_METRIC.upper(),
        gap_meanings=GAPS,
        drawings=[embed(drawing) for drawing in drawings],
        system_drawings={system: [embed(drawing) for drawing in figures] for system, figures in of_systems.items()},
        times=[(system, in_words(run), in_words(total)) for system, (run, total) in results.seconds.items()],
        descriptions={system: describe_system(experiment, system) for system in results.systems},
        configuration=yaml.safe_dump(configuration.model_dump(mode="json", exclude={"storage"}), sort_keys=False),
        versions=_versions(),
        machines=sorted({experiment.store.read_record(run.evaluation)["machine"] for run in results.runs}),
    )


def _by_size(rows: Sequence[ConditionRow]) -> list[list[ConditionRow]]:
    """The rows of conditions with as many modalities together."""
    return [list(part) for _, part in groupby(rows, key=lambda row: len(row.condition))]


def _differences(comparison: Comparison | None) -> dict[str, list[tuple[str, list[pd.Series]]]]:
    """By metric a row for each system with its differences in the order of the table."""
    if comparison is None:
        return {}
    rows: dict[str, list[tuple[str, list[pd.Series]]]] = {}
    columns = columns_in(comparison.frame)
    for metric, of_metric in comparison.frame.groupby("metric", sort=False):
        systems = of_metric.groupby("system", sort=False)
        rows[str(metric).upper()] = [(str(system), _in_order(part, columns)) for system, part in systems]
    return rows


def _areas(areas: pd.DataFrame | None) -> list[tuple[str, str, list[pd.Series]]]:
    """A row for each protocol and system, a cell for each metric."""
    if areas is None:
        return []
    grouped = areas.groupby(["protocol", "system"], sort=False)
    return [(str(protocol), str(system), [row for _, row in part.iterrows()]) for (protocol, system), part in grouped]


@dataclass(frozen=True)
class _SubgroupTable:
    """One column's subgroups: `SUBGROUP_METRIC` of each, then the gaps; a cell for each condition."""

    column: str
    resampled: str
    scores: list[tuple[str, str, list[pd.Series]]]
    gaps: list[tuple[str, str, list[pd.Series]]]


def _subgroups(details: Details, conditions: Sequence[str]) -> list[_SubgroupTable]:
    tables = []
    for column, gaps in details.gaps.groupby("column", sort=False):
        scores = details.subgroups[
            (details.subgroups["column"] == column) & (details.subgroups["metric"] == SUBGROUP_METRIC)
        ]
        resampled = str(gaps["resampled"].iloc[0])
        rows = _rows(scores, "subgroup", conditions), _rows(gaps, "gap", conditions)
        tables.append(_SubgroupTable(str(column), resampled, *rows))
    return tables


def _rows(frame: pd.DataFrame, kind: str, conditions: Sequence[str]) -> list[tuple[str, str, list[pd.Series]]]:
    """A row for each system and subgroup, or gap."""
    grouped = frame.groupby(["system", kind], sort=False)
    return [(str(system), str(name), _in_order(part, conditions)) for (system, name), part in grouped]


def _in_order(frame: pd.DataFrame, columns: Sequence[str]) -> list[pd.Series]:
    """The rows of these conditions; NaN where there is none."""
    by_condition = {row["condition"]: row for _, row in frame.iterrows()}
    return [by_condition.get(column, pd.Series(np.nan, frame.columns)) for column in columns]


def _versions() -> list[tuple[str, str]]:
    libraries = [(name, metadata.version(name)) for name in _LIBRARIES]
    return [("ifmmin", package_version()), ("Python", platform.python_version()), *libraries]
