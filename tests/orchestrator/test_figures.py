import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.conditions import ALL_CONDITIONS
from orchestrator import figures
from orchestrator.results import COLUMNS, completed_runs, load_history, load_predictions, score
from tests.orchestrator.conftest import FinishedExperiment


def history(systems: tuple[str, ...] = ("if-mmin",), runs: int = 2) -> pd.DataFrame:
    """Two epochs; L_inv of run r in epoch e is r + e, and pretraining has none."""
    rows = [
        {"system": system, "fold": run, "seed": 0, "stage": stage, "epoch": epoch, "loss/cls": 1.0, "loss/total": 9.0}
        | ({"loss/inv": float(run + epoch)} if stage == "train" else {})
        for system in systems
        for run in range(1, runs + 1)
        for stage in ("pretrain", "train")
        for epoch in (1, 2)
    ]
    return pd.DataFrame(rows)


def drawn(figure: Figure) -> Figure:
    """Laid out and rendered, so that what matplotlib only warns of then fails here."""
    figure.savefig(io.BytesIO(), dpi=50)
    return figure


def labels(panel: Axes) -> list[str]:
    legend = panel.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_loss_curves_show_the_unweighted_terms_that_a_stage_has() -> None:
    pretrain, train = drawn(figures.loss_curves(history())).axes
    assert [panel.get_title() for panel in (pretrain, train)] == ["if-mmin: pretrain", "if-mmin: train"]
    assert labels(pretrain) == ["classification, $L_{cls}$"]
    assert labels(train) == ["classification, $L_{cls}$", "invariance, $L_{inv}$"]


def test_the_invariance_curve_is_the_mean_over_runs() -> None:
    (panel,) = drawn(figures.invariance_curve(history())).axes
    (line,) = panel.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[1, 2.5], [2, 3.5]])
    assert "2 runs" in panel.get_title()
    assert len(panel.collections) == 1


def test_one_run_has_a_curve_without_a_band() -> None:
    (panel,) = drawn(figures.invariance_curve(history(runs=1))).axes
    assert len(panel.get_lines()) == 1
    assert not panel.collections


@pytest.mark.parametrize("classes", [4, 10])
def test_confusion_matrices_are_normalised_by_true_class(classes: int) -> None:
    # Of class 0 one utterance in four is taken for class 1; the last class is never right; the others always are.
    label = np.repeat(np.arange(classes), 4)
    prediction = np.where(label == classes - 1, 0, label)
    prediction[0] = 1
    parts = [{"condition": condition, "label": label, "prediction": prediction} for condition in ALL_CONDITIONS]
    predictions = pd.concat([pd.DataFrame(part) for part in parts]).assign(system="if-mmin", fold=1, seed=0)
    names = [f"class {c}" for c in range(classes)]
    panels = drawn(figures.confusion_matrices(predictions, names)).axes
    assert [panel.get_title().split(":")[0] for panel in panels[:7]] == list(ALL_CONDITIONS)
    for panel in panels[:7]:
        shares = np.asarray(panel.images[0].get_array())
        expected = 100 * np.eye(classes)
        expected[0, :2] = 75, 25
        expected[-1, [0, -1]] = 100, 0
        np.testing.assert_allclose(shares, expected)
        assert [tick.get_text() for tick in panel.get_xticklabels()] == names


def test_scores_by_condition_have_a_bar_for_each_system_and_column() -> None:
    rows = [
        {"system": system, "fold": fold, "seed": 0, "condition": condition, "wa": wa, "ua": wa / 2}
        for system, wa in (("if-mmin", 0.8), ("mmin", 0.6))
        for fold in (1, 2)
        for condition in COLUMNS
    ]
    wa, ua = drawn(figures.scores_by_condition(pd.DataFrame(rows))).axes
    assert labels(wa) == ["if-mmin", "mmin"]
    assert [round(bar.get_height()) for bar in wa.patches] == 8 * [80] + 8 * [60]
    assert [round(bar.get_height()) for bar in ua.patches] == 8 * [40] + 8 * [30]
    assert [tick.get_text() for tick in ua.get_xticklabels()] == list(COLUMNS)


def test_all_figures_of_a_finished_experiment_can_be_drawn(finished_experiment: FinishedExperiment) -> None:
    runs = completed_runs(finished_experiment.plan, finished_experiment.store)
    predictions, epochs = (load(runs, finished_experiment.store) for load in (load_predictions, load_history))
    drawn(figures.loss_curves(epochs))
    drawn(figures.invariance_curve(epochs))
    drawn(figures.confusion_matrices(predictions, finished_experiment.corpus.classes))
    drawn(figures.scores_by_condition(score(predictions)))
