"""The page of a report: one HTML file that needs no other, made from the template beside it."""

import base64
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from ifmmin.data.audit import audit
from ifmmin.data.conditions import ALL_CONDITIONS
from ifmmin.data.corpus import Corpus
from ifmmin.orchestrator.analysis.calibration import expected_calibration_error
from ifmmin.orchestrator.analysis.scores import COLUMNS
from ifmmin.orchestrator.analysis.subgroups import GAPS
from ifmmin.orchestrator.execution.pace import in_words
from ifmmin.orchestrator.reporting.drawing import Drawing
from ifmmin.orchestrator.reporting.tables import MARK, METRICS, how_made, make_rows, signed
from ifmmin.orchestrator.tracking.metrics import describe_parameters

if TYPE_CHECKING:
    from ifmmin.orchestrator.reporting.report import Report

_LIBRARIES = ("ifmmin", "torch", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "ray", "mlflow", "optuna")


def render_page(report: "Report") -> str:
    """The page of a report, as HTML."""
    text = (resources.files(__package__) / "templates" / "report.html").read_text()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["signed"] = signed
    experiment, results = report.experiment, report.results
    plan, configuration = experiment.plan, experiment.configuration
    return environment.from_string(text).render(
        name=configuration.name,
        corpus=experiment.corpus,
        corpus_facts=_facts(experiment.corpus),
        findings=audit(experiment.corpus),
        complete=len(results.runs),
        planned=len(plan.runs),
        made=datetime.now(UTC),
        columns=COLUMNS,
        blocks=_blocks(report),
        mark=MARK,
        how_made=how_made(report.summary),
        comparison=report.comparison,
        differences=_differences(report),
        conditions=ALL_CONDITIONS,
        areas=_areas(report),
        calibration=expected_calibration_error(report.calibration),
        subgroups=_subgroups(report),
        gap_meanings=GAPS,
        drawings=[_embedded(drawing) for drawing in report.drawings],
        system_drawings={s: [_embedded(d) for d in report.drawings_of(s)] for s in results.systems},
        times=[(system, in_words(run), in_words(total)) for system, (run, total) in results.seconds.items()],
        parameters={s: describe_parameters(configuration, plan, experiment.corpus, s) for s in results.systems},
        configuration=yaml.safe_dump(configuration.model_dump(mode="json", exclude={"storage"}), sort_keys=False),
        share=report.share,
        versions=_versions(),
        machines=sorted({experiment.store.read_record(run.evaluation)["machine"] for run in results.runs}),
    )


def _blocks(report: "Report") -> dict[str, list[Any]]:
    frame = report.comparison.frame if report.comparison else None
    return {name: make_rows(report.summary, metric, frame) for name, metric in METRICS.items()}


def _differences(report: "Report") -> dict[str, list[tuple[str, list[pd.Series]]]]:
    """By metric a row for each system with its differences in the order of `COLUMNS`."""
    if report.comparison is None:
        return {}
    frame = report.comparison.frame
    rows: dict[str, list[tuple[str, list[pd.Series]]]] = {}
    for name, metric in METRICS.items():
        rows[name] = []
        for system, part in frame[frame["metric"] == metric].groupby("system", sort=False):
            by_condition = {row["condition"]: row for _, row in part.iterrows()}
            rows[name].append((str(system), [by_condition[column] for column in COLUMNS]))
    return rows


def _areas(report: "Report") -> list[tuple[str, str, list[pd.Series]]]:
    """A row for each protocol and system: WA, then UA."""
    if report.areas is None:
        return []
    grouped = report.areas.groupby(["protocol", "system"], sort=False)
    return [(str(protocol), str(system), [row for _, row in part.iterrows()]) for (protocol, system), part in grouped]


@dataclass(frozen=True)
class _SubgroupTable:
    """One column's subgroups: UA of each, then the gaps between them; cells in the order of `ALL_CONDITIONS`."""

    column: str
    resampled: str
    scores: list[tuple[str, str, list[pd.Series]]]
    gaps: list[tuple[str, str, list[pd.Series]]]


def _subgroups(report: "Report") -> list[_SubgroupTable]:
    scores, gaps = report.subgroups
    tables = []
    for column, own in gaps.groupby("column", sort=False):
        shown = scores[(scores["column"] == column) & (scores["metric"] == "ua")]
        resampled = str(own["resampled"].iloc[0])
        tables.append(
            _SubgroupTable(str(column), resampled, _by_condition(shown, "subgroup"), _by_condition(own, "gap"))
        )
    return tables


def _by_condition(frame: pd.DataFrame, kind: str) -> list[tuple[str, str, list[pd.Series]]]:
    rows = []
    for (system, name), part in frame.groupby(["system", kind], sort=False):
        by_condition = {row["condition"]: row for _, row in part.iterrows()}
        rows.append((str(system), str(name), [by_condition[condition] for condition in ALL_CONDITIONS]))
    return rows


def _embedded(drawing: Drawing) -> dict[str, str]:
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
        ("speakers", str(len(set(corpus.speakers))) if corpus.speakers is not None else "unknown"),
        ("classes", ", ".join(f"{name} {count:,}" for name, count in zip(corpus.classes, counts, strict=True))),
        *(
            (
                {"a": "acoustic", "v": "visual", "t": "textual"}[modality],
                f"{sequences.dimension} features, {sequences.lengths.min()} to {sequences.lengths.max()} time steps"
                + (", standardised with each fold's training set" if modality in corpus.standardised else ""),
            )
            for modality, sequences in corpus.sequences.items()
        ),
        ("folds (train / validation / test)", folds),
        ("fingerprint", corpus.fingerprint),
        *(
            [("best possible WA in %", ", ".join(f"{c} {100 * v:.1f}" for c, v in corpus.best.items()))]
            if corpus.best
            else []
        ),
    ]


def _versions() -> list[tuple[str, str]]:
    return [("Python", platform.python_version()), *((name, metadata.version(name)) for name in _LIBRARIES)]
