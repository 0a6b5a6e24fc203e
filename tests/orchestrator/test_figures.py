import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from ifmmin.data.modalities import AVT
from ifmmin.orchestrator.analysis.embeddings import embed_run, embed_runs
from ifmmin.orchestrator.analysis.scores import columns_of
from ifmmin.orchestrator.analysis.statistics import corrected_t
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.reporting import figures, lettering
from ifmmin.orchestrator.reporting.drawing import Drawing, style
from ifmmin.orchestrator.reporting.lettering import label
from tests.small import ALL_CONDITIONS, LETTERS

COLUMNS = columns_of(LETTERS)


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


def invariance_curve(history: pd.DataFrame) -> Drawing:
    (drawing,) = figures.featured_loss_curves(history)
    return drawing


def drawn(drawing: Drawing) -> Figure:
    """Laid out and rendered, so that what matplotlib only warns of then fails here."""
    assert drawing.caption.endswith(".")
    drawing.figure.savefig(io.BytesIO(), dpi=50)
    return drawing.figure


def labels(panel: Axes) -> list[str]:
    legend = panel.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_loss_curves_show_the_unweighted_terms_that_a_stage_has() -> None:
    pretrain, train = drawn(figures.loss_curves(history())).axes
    assert [panel.get_title() for panel in (pretrain, train)] == ["if-mmin: pretrain", "if-mmin: train"]
    assert labels(pretrain) == ["classification, $L_{cls}$"]
    assert labels(train) == ["classification, $L_{cls}$", "invariance, $L_{inv}$"]


def test_the_invariance_curve_is_the_mean_over_runs() -> None:
    (panel,) = drawn(invariance_curve(history())).axes
    (line,) = panel.get_lines()
    np.testing.assert_allclose(np.asarray(line.get_xydata(), np.float64), np.array([[1, 2.5], [2, 3.5]]))
    assert "2 runs" in invariance_curve(history()).caption
    assert len(panel.collections) == 1


def test_systems_that_feature_no_loss_have_no_curve_of_one() -> None:
    assert list(figures.featured_loss_curves(history(("mmin",)))) == []
    assert [panel.get_title() for panel in drawn(figures.loss_curves(history(("mmin",)))).axes][1] == "mmin: train"


def test_one_run_has_a_curve_without_a_band() -> None:
    (panel,) = drawn(invariance_curve(history(runs=1))).axes
    assert len(panel.get_lines()) == 1
    assert not panel.collections


def confusion_of(names: list[str]) -> Drawing:
    """Confusion matrices of one right prediction of each class."""
    every = np.arange(len(names))
    parts = [pd.DataFrame({"condition": c, "label": every, "prediction": every}) for c in ALL_CONDITIONS]
    return figures.confusion_matrices(pd.concat(parts).assign(system="if-mmin", fold=1, seed=0), names)


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


SCRIPTS = {
    "chinese": ["高兴", "悲伤", "愤怒"],
    "japanese": ["喜び", "カナシミ", "怒り"],
    "korean": ["기쁨", "슬픔", "분노"],
    "arabic": ["سعيد", "حزين", "غاضب"],
    "hindi": ["ख़ुश", "दुखी", "नाराज़"],
    "russian": ["радость", "грусть", "гнев"],
    "emoji": ["😀", "😢", "😡"],
    "mathematics": ["$x$", "a_b^c", "\\frac{"],
    "control": ["a\tb", "a\u200bb", "\x07"],
    "long": ["joy", "sadness " * 12, "anger"],
}


@pytest.mark.parametrize("names", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_classes_in_any_script_are_legible(names: list[str]) -> None:
    drawing = confusion_of(names)
    ticks = [tick.get_text() for tick in drawn(drawing).axes[0].get_yticklabels()]
    if ticks != names:
        assert ticks == ["1", "2", "3"]
        assert all(" ".join(name.split()) in drawing.caption for name in names)
    assert set(drawing.files) == {"confusion_matrices.png", "confusion_matrices.pdf"}  # a missing glyph would warn


def test_only_fonts_that_have_the_letters_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = [entry for entry in fontManager.ttflist if entry.name.startswith(("DejaVu", "Last Resort", "cm"))]
    monkeypatch.setattr(fontManager, "ttflist", shipped)
    lettering._families.cache_clear()
    assert label(SCRIPTS["russian"]) == lettering.Labels(SCRIPTS["russian"], ("sans-serif",), "")
    assert label(SCRIPTS["chinese"]).key == "1 高兴, 2 悲伤, 3 愤怒."
    lettering._families.cache_clear()


def scores(wa: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Of two folds, one point above and one below these means; UA is half of WA."""
    rows = [
        {"system": system, "fold": fold, "seed": 0, "condition": c, "wa": mean + d, "ua": (mean + d) / 2}
        for system, means in wa.items()
        for c, mean in means.items()
        for fold, d in ((1, 0.01), (2, -0.01))
    ]
    return pd.DataFrame(rows)


def points(panel: Axes) -> list[list[float]]:
    """The values of each system, in the order of its columns."""
    lines = [container.lines[0] for container in containers(panel)]
    return [np.asarray(line.get_ydata(), np.float64).round(6).tolist() for line in lines]


def containers(panel: Axes) -> list[ErrorbarContainer]:
    return [container for container in panel.containers if isinstance(container, ErrorbarContainer)]


def test_scores_by_condition_have_a_point_with_an_interval_for_each_system_and_column() -> None:
    means = {"if-mmin": dict.fromkeys(COLUMNS, 0.8), "mmin": dict.fromkeys(COLUMNS, 0.6)}
    wa, ua = drawn(figures.scores_by_condition(scores(means), 0.1, AVT)).axes
    assert labels(wa) == ["if-mmin", "mmin"]
    assert points(wa) == [8 * [80], 8 * [60]]
    assert points(ua) == [8 * [40], 8 * [30]]
    assert [tick.get_text() for tick in ua.get_xticklabels()] == list(COLUMNS)
    interval = containers(wa)[0].lines[2][0].get_segments()[0][:, 1]
    expected = corrected_t([0.81, 0.79], 0.1)
    assert interval == pytest.approx([100 * expected.low, 100 * expected.high])


def test_costs_are_points_below_the_full_condition() -> None:
    means = {"mmin": {**dict.fromkeys(COLUMNS, 0.6), "t": 0.25, "avt": 0.7}}
    wa, _ = drawn(figures.cost_of_missing_modalities(scores(means), share=0.1)).axes
    assert points(wa) == [[10, 10, 45, 10, 10, 10, 10]]


def test_a_single_run_has_points_without_intervals() -> None:
    one = scores({"mmin": dict.fromkeys(COLUMNS, 0.6)}).query("fold == 1")
    drawing = figures.scores_by_condition(one, 0.1, AVT)
    wa, _ = drawn(drawing).axes
    assert points(wa) == [8 * [61]]
    assert "Means over 1 run." in drawing.caption


def test_files_carry_the_caption_and_the_image_of_a_page_does_not() -> None:
    drawing = invariance_curve(history())
    files = drawing.files
    assert {name: content[:4] for name, content in files.items()} == {
        "invariance_curve.png": b"\x89PNG",
        "invariance_curve.pdf": b"%PDF",
    }
    assert len(drawing.image) < len(files["invariance_curve.png"])
    assert files == invariance_curve(history()).files


def test_the_embedding_has_100_or_all_test_utterances_in_seven_states(finished_experiment: Experiment) -> None:
    (embedded,) = embed_runs(finished_experiment, finished_experiment.plan.runs)
    assert embedded.title == "invariant features"
    counts = embedded.points["condition"].value_counts()
    assert dict(counts) == dict.fromkeys(ALL_CONDITIONS, len(finished_experiment.corpus.folds[1].test))
    again = embed_run(finished_experiment, finished_experiment.plan.runs[0])
    pd.testing.assert_frame_equal(embedded.points, again)
    (panel,) = drawn(figures.embedding(embedded)).axes
    assert labels(panel) == ["a", "v", "t", "av", "at", "vt", "all modalities"]


def test_no_two_of_many_systems_look_the_same() -> None:
    styles = [style(index) for index in range(24)]
    assert len({(colour, marker) for colour, marker, _ in styles}) == 24
    assert len({(colour, str(line)) for colour, _, line in styles}) == 24
