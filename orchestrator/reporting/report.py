"""The report of an experiment: its tables and figures as files, and all of it with how it was made as one page."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

import pandas as pd

from ifmmin.data.errors import UserError, nearest
from ifmmin.orchestrator.analysis.calibration import calibrate, reliability_diagrams
from ifmmin.orchestrator.analysis.embeddings import embed_invariant_features
from ifmmin.orchestrator.analysis.robustness import area_table, complete_protocols, load_curves, robustness_curves
from ifmmin.orchestrator.analysis.scores import Results
from ifmmin.orchestrator.analysis.statistics import Comparison, compare, share_tested
from ifmmin.orchestrator.analysis.subgroups import score_subgroups
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import protocol_plan
from ifmmin.orchestrator.reporting import figures
from ifmmin.orchestrator.reporting import formats as table_formats
from ifmmin.orchestrator.reporting.drawing import Drawing
from ifmmin.orchestrator.reporting.page import render_page
from ifmmin.orchestrator.reporting.published import published_summary

PUBLISHED = "published"
REFERENCE = "if-mmin"
"""The system that the others are compared with unless another one is named; the last one where it is missing."""


class Report:
    """What is to be said about the complete runs of an experiment. Figures are drawn once, when they are asked for.

    Args:
        against: the system that the others are compared with, and `published` for published figures.

    Raises:
        UserError: no such system, or nothing published for this corpus.
    """

    def __init__(self, experiment: Experiment, results: Results, against: Sequence[str] = ()) -> None:
        self.experiment, self.results, self.against = experiment, results, tuple(against)
        self.share = share_tested(experiment.corpus, sorted({run.fold for run in results.runs}))
        self.comparison = self._compare()
        self._drawn: dict[str, list[Drawing]] = {}
        self._embedded: dict[str, pd.DataFrame | None] = {}

    def of(self, system: str) -> "Report":
        """The report of one system alone; what is drawn for one need not be drawn again for the other."""
        own = Report(self.experiment, self.results.of(system))
        own._drawn, own._embedded = self._drawn, self._embedded
        return own

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Of `analysis.scores.summarise`; published figures follow where they were asked for."""
        if PUBLISHED not in self.against:
            return self.results.summary
        return pd.concat([self.results.summary, published_summary(self.experiment.corpus)], ignore_index=True)

    @property
    def identity(self) -> str:
        """The same for the same runs, compared in the same way."""
        evaluations = [run.evaluation for run in self.results.runs]
        return hashlib.sha256(json.dumps([evaluations, self.against, self.protocols]).encode()).hexdigest()[:24]

    @cached_property
    def protocols(self) -> list[str]:
        """Those under which all the runs have been evaluated."""
        return complete_protocols(self.experiment, self.results.runs)

    @cached_property
    def curves(self) -> pd.DataFrame | None:
        """Of `analysis.robustness.load_curves`, if the runs were evaluated under protocols."""
        if not self.protocols:
            return None
        plan = protocol_plan(self.experiment.plan, self.results.runs, self.protocols)
        return load_curves(plan, self.experiment.store)

    @cached_property
    def areas(self) -> pd.DataFrame | None:
        """Of `analysis.robustness.area_table`."""
        return None if self.curves is None else area_table(self.curves, self.share)

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """Of `analysis.calibration.calibrate`."""
        return calibrate(self.results.predictions)

    @cached_property
    def subgroups(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Of `analysis.subgroups.score_subgroups`."""
        return score_subgroups(self.results.predictions, self.experiment.corpus)

    @cached_property
    def drawings(self) -> list[Drawing]:
        """The figures that compare systems."""
        results = self.results
        drawn = [
            figures.scores_by_condition(results.scores, self.share),
            figures.cost_of_missing_modalities(results.scores, self.share),
        ]
        if self.curves is not None:
            drawn.append(robustness_curves(self.curves, self.share))
        if figures.INVARIANCE in results.history:
            drawn.append(figures.invariance_curve(results.history))
        points = [points for system in results.systems if (points := self._embed(system)) is not None]
        if points:
            drawn.append(figures.embedding(pd.concat(points)))
        return drawn

    def files(self) -> dict[str, bytes]:
        """Everything by relative path; `report.html` needs none of the others."""
        texts = {
            "report.html": render_page(self),
            "table.md": table_formats.markdown(self.summary, self.comparison) + "\n",
            "table.tex": table_formats.latex(self.summary, self.comparison) + "\n",
            "table.csv": table_formats.csv(self.summary),
            "times.csv": self.results.times.to_csv(index=False),
        }
        tables = {"calibration": self.calibration, "curves": self.curves, "areas": self.areas}
        tables |= dict(zip(("subgroups", "gaps"), self.subgroups, strict=True))
        tables |= {"comparison": self.comparison.frame if self.comparison else None}
        texts |= {
            f"{name}.csv": frame.to_csv(index=False)
            for name, frame in tables.items()
            if frame is not None and len(frame)
        }
        files = {name: text.encode() for name, text in texts.items()}
        drawn = {"figures": self.drawings}
        for system in self.results.systems:
            folder = "figures" if len(self.results.systems) == 1 else f"figures/{system}"
            drawn[folder] = drawn.get(folder, []) + self.drawings_of(system)
        for folder, drawings in drawn.items():
            for drawing in drawings:
                files |= {f"{folder}/{name}": content for name, content in drawing.files.items()}
        return files

    def drawings_of(self, system: str) -> list[Drawing]:
        """The figures of one system that are not in a figure of all."""
        if system not in self._drawn:
            own = self.results.of(system)
            self._drawn[system] = [
                figures.confusion_matrices(own.predictions, self.experiment.corpus.classes),
                reliability_diagrams(self.calibration[self.calibration["system"] == system]),
                figures.loss_curves(own.history),
            ]
        return self._drawn[system]

    def _compare(self) -> Comparison | None:
        systems = self.results.systems
        chosen = [name for name in self.against if name != PUBLISHED]
        for name in chosen:
            if name not in systems:
                raise UserError(f"--against {name}: {nearest(name, [*systems, PUBLISHED])}")
        if len(systems) == 1:
            return None
        reference = chosen[0] if chosen else REFERENCE if REFERENCE in systems else systems[-1]
        return compare(self.results.scores, reference, self.share)

    def _embed(self, system: str) -> pd.DataFrame | None:
        if system not in self._embedded:
            first = next(run for run in self.results.runs if run.system == system)
            self._embedded[system] = embed_invariant_features(self.experiment, first)
        return self._embedded[system]
