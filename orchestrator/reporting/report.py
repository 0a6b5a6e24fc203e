"""The report of an experiment: its figures, and all its files with the page that holds everything."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ifmmin.orchestrator.analysis.corpus import analyse_corpus
from ifmmin.orchestrator.analysis.experiment import Analysis, Details, analyse, analyse_details, details_of
from ifmmin.orchestrator.analysis.scores import pool
from ifmmin.orchestrator.reporting import figures, formats
from ifmmin.orchestrator.reporting.drawing import Drawing
from ifmmin.orchestrator.reporting.page import render_page


@dataclass(frozen=True)
class Report:
    """The numbers and the figures of an experiment, or of one system of it.

    Attributes:
        drawings: figures that compare systems.
        of_systems: the other figures of each system.
        of_corpus: figures of the corpus.
    """

    analysis: Analysis
    details: Details
    drawings: Sequence[Drawing]
    of_systems: Mapping[str, Sequence[Drawing]]
    of_corpus: Sequence[Drawing]


def make_report(analysis: Analysis) -> Report:
    """The report of an experiment; takes seconds for its figures."""
    details = analyse_details(analysis)
    of_systems = {system: _draw_system(analysis, details, system) for system in analysis.results.systems}
    of_corpus = list(figures.corpus_figures(analyse_corpus(analysis.experiment.corpus)))
    return Report(analysis, details, list(_draw_comparison(analysis, details)), of_systems, of_corpus)


def report_of(report: Report, system: str) -> Report:
    """The report of one system alone, with the figures that the whole report has of it."""
    whole = report.analysis
    if whole.results.systems == [system] and not whole.against:
        return report
    analysis = analyse(whole.experiment, whole.results.of(system))
    details = details_of(report.details, system)
    drawings, of_systems = list(_draw_comparison(analysis, details)), {system: report.of_systems[system]}
    return Report(analysis, details, drawings, of_systems, report.of_corpus)


def report_files(report: Report) -> dict[str, bytes]:
    """All files by relative path; `report.html` needs none of the others."""
    analysis, details = report.analysis, report.details
    texts = {
        "report.html": render_page(analysis, details, report.drawings, report.of_systems, report.of_corpus),
        "table.md": formats.markdown(analysis.summary, analysis.comparison, analysis.remarks) + "\n",
        "table.tex": formats.latex(analysis.summary, analysis.comparison, analysis.remarks) + "\n",
        "table.csv": formats.csv(analysis.summary),
        "times.csv": analysis.results.times.to_csv(index=False),
        **{f"{name}.csv": frame.to_csv(index=False) for name, frame in _frames(analysis, details)},
    }
    files = {name: text.encode() for name, text in texts.items()}
    for folder, drawings in _folders(report):
        for drawing in drawings:
            files |= {f"{folder}/{name}": content for name, content in drawing.files.items()}
    return files


def _frames(analysis: Analysis, details: Details) -> Iterator[tuple[str, pd.DataFrame]]:
    """The frames that are not empty, by name."""
    frames = {
        "calibration": details.calibration,
        "curves": analysis.curves,
        "areas": analysis.areas,
        "subgroups": details.subgroups,
        "gaps": details.gaps,
        "comparison": analysis.comparison.frame if analysis.comparison else None,
    }
    return ((name, frame) for name, frame in frames.items() if frame is not None and len(frame))


def _folders(report: Report) -> Iterator[tuple[str, Sequence[Drawing]]]:
    yield "figures", report.drawings
    yield "figures/corpus", report.of_corpus
    for system, drawings in report.of_systems.items():
        yield "figures" if len(report.of_systems) == 1 else f"figures/{system}", drawings


def _draw_comparison(analysis: Analysis, details: Details) -> Iterator[Drawing]:
    results, share = analysis.results, analysis.share
    modalities = analysis.experiment.corpus.modalities
    yield figures.scores_by_condition(results.scores, share, modalities)
    if len(modalities) > 1:
        yield figures.cost_of_missing_modalities(results.scores, share)
    if analysis.curves is not None:
        yield figures.robustness_curves(analysis.curves, share)
    yield from figures.featured_loss_curves(results.history)
    yield from (figures.embedding(replace(kind, points=pool(kind.points))) for kind in details.embeddings)


def _draw_system(analysis: Analysis, details: Details, system: str) -> list[Drawing]:
    """The figures of one system that do not compare it with others."""
    results = analysis.results.of(system)
    return [
        figures.confusion_matrices(pool(results.predictions), analysis.experiment.corpus.classes),
        figures.reliability_diagrams(details_of(details, system).calibration),
        figures.loss_curves(results.history),
    ]
