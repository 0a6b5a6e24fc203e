"""The page of a report: one self-contained HTML file, made from the template beside it."""

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata, resources
from itertools import groupby

import jinja2
import numpy as np
import pandas as pd
import yaml

from ifmmin.data.audit import audit
from ifmmin.data.corpus import Corpus, Provenance, Sequences
from ifmmin.orchestrator.analysis.calibration import expected_calibration_error
from ifmmin.orchestrator.analysis.experiment import Analysis, Details
from ifmmin.orchestrator.analysis.scores import METRICS, columns_in, conditions_in, panels_in
from ifmmin.orchestrator.analysis.statistics import SIGNIFICANT, Comparison
from ifmmin.orchestrator.analysis.subgroups import GAPS
from ifmmin.orchestrator.execution.pace import in_words
from ifmmin.orchestrator.reporting.description import describe_system
from ifmmin.orchestrator.reporting.drawing import Drawing
from ifmmin.orchestrator.reporting.tables import (
    MARK,
    ConditionRow,
    count_of_conditions,
    is_grouped,
    make_blocks,
    make_condition_blocks,
    notes,
    signed,
    written_counts,
)
from ifmmin.version import package_version

_LIBRARIES = ("torch", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "ray", "mlflow", "optuna")
SUBGROUP_METRIC = "ua"
"""Classes are seldom as frequent in all subgroups, which UA does not depend on."""


def render_page(
    analysis: Analysis, details: Details, drawings: Sequence[Drawing], of_systems: Mapping[str, Sequence[Drawing]]
) -> str:
    """The page of a report, as HTML.

    Args:
        drawings: the figures that compare systems.
        of_systems: the other figures of each system.
    """
    text = (resources.files(__package__) / "templates" / "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["signed"] = signed
    environment.filters["by_size"] = _by_size
    experiment, results = analysis.experiment, analysis.results
    configuration, corpus = experiment.configuration, experiment.corpus
    return environment.from_string(text).render(
        name=configuration.name,
        corpus=corpus,
        corpus_facts=_facts(corpus),
        findings=audit(corpus),
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
        drawings=[_embed(drawing) for drawing in drawings],
        system_drawings={system: [_embed(drawing) for drawing in figures] for system, figures in of_systems.items()},
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


def _embed(drawing: Drawing) -> dict[str, str]:
    return {"image": base64.b64encode(drawing.image).decode(), "caption": drawing.caption}


def _facts(corpus: Corpus) -> list[tuple[str, str]]:
    counts = np.bincount(corpus.labels, minlength=len(corpus.classes)).tolist()
    sizes = {n: f"{len(f.train):,} / {len(f.validation):,} / {len(f.test):,}" for n, f in sorted(corpus.folds.items())}
    alike = len(set(sizes.values())) == 1
    folds = (
        f"{len(sizes)}, each {next(iter(sizes.values()))}"
        if alike
        else "; ".join(f"{n}: {s}" for n, s in sizes.items())
    )
    return [
        ("about", corpus.about),
        ("utterances", f"{len(corpus):,}"),
        ("speakers", str(len({*corpus.speakers} - {None})) if corpus.speakers is not None else "unknown"),
        ("classes", ", ".join(f"{name} {count:,}" for name, count in zip(corpus.classes, counts, strict=True))),
        *(
            (
                f"{modality.letter}: {modality.title}",
                _features(corpus.sequences[modality.letter])
                + (", standardised with each fold's training set" if modality.standardised else "")
                + _extractor(corpus.extractors.get(modality.letter)),
            )
            for modality in corpus.modalities
        ),
        ("folds (train / validation / test)", folds),
        ("fingerprint", corpus.fingerprint),
        *(
            [("best possible WA in %", ", ".join(f"{c} {100 * v:.1f}" for c, v in corpus.best.items()))]
            if corpus.best
            else []
        ),
    ]


def _extractor(how: Provenance | None) -> str:
    """What the features were made with, if that is known."""
    return f"; made from recordings by {how.extractor}, version {how.version} ({how.licence})" if how else ""


def _features(sequences: Sequences) -> str:
    present = sequences.lengths[sequences.lengths > 0]
    lacking = len(sequences) - len(present)
    return f"{sequences.dimension} features, {present.min()} to {present.max()} time steps" + (
        f", missing for {lacking:,} of {len(sequences):,} utterances" if lacking else ""
    )


def _versions() -> list[tuple[str, str]]:
    libraries = [(name, metadata.version(name)) for name in _LIBRARIES]
    return [("ifmmin", package_version()), ("Python", platform.python_version()), *libraries]
