"""The pictures of a corpus, whatever its modalities, classes and speakers are."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import SETS, Corpus, Sequences, write_corpus
from ifmmin.data.modalities import AVT, Modality
from ifmmin.orchestrator.analysis.corpus import POINTS, analyse_corpus
from ifmmin.orchestrator.commands import app
from ifmmin.orchestrator.reporting.corpus_page import render_corpus_page
from ifmmin.orchestrator.reporting.drawing import Drawing
from ifmmin.orchestrator.reporting.figures import corpus_figures
from tests.small import FOUR, ONE, make_corpus, with_gaps

SIX = (*FOUR, Modality("e", "electrodermal"), Modality("h", "heart rate", "linear"))


def with_speakers(corpus: Corpus, speakers: int) -> Corpus:
    names = [f"speaker {row % speakers}" for row in range(len(corpus))]
    return replace(corpus, utterances=corpus.utterances.append_column("speaker", pa.array(names)))


def drawings(corpus: Corpus) -> dict[str, Drawing]:
    """By name, each rendered with its caption, so that what matplotlib only warns of then fails here."""
    made = {drawing.name: drawing for drawing in corpus_figures(analyse_corpus(corpus))}
    for drawing in made.values():
        assert drawing.caption.endswith(".")
        drawing.figure.savefig(io.BytesIO(), dpi=50)
    return made


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("speakers", [2, 40])
@pytest.mark.parametrize("classes", [2, 12])
@pytest.mark.parametrize("modalities", [ONE, SIX])
def test_every_corpus_has_its_pictures(speakers: int, classes: int, modalities: tuple[Modality, ...]) -> None:
    corpus = with_speakers(make_corpus(240, classes, modalities=modalities), speakers)
    made = drawings(with_gaps(corpus, 0.4))
    expected = {"lengths", "classes_by_set", "classes_by_speaker", "components_by_class", "components_by_speaker"}
    assert set(made) == expected | ({"modalities_together"} if len(modalities) > 1 else set())
    panels = made["components_by_class"].figure.axes
    assert [panel.get_title() for panel in panels if panel.axison] == [f"{m.letter}: {m.title}" for m in modalities]
    assert len(legend(made["classes_by_set"].figure)) == classes
    assert ("32 others are grey" in made["components_by_speaker"].caption) == (speakers == 40)


def test_a_corpus_without_gaps_speakers_and_varying_lengths_has_fewer_pictures() -> None:
    corpus = make_corpus(60, modalities=(Modality("p", "physiological", "linear"),))
    assert set(drawings(corpus)) == {"classes_by_set", "components_by_class"}


def test_features_that_do_not_vary_have_no_components() -> None:
    corpus = make_corpus(60, modalities=ONE)
    constant = Sequences(np.ones_like(corpus.sequences["x"].values), corpus.sequences["x"].offsets)
    assert set(drawings(replace(corpus, sequences={"x": constant}))) == {"lengths", "classes_by_set"}


def test_a_single_feature_is_drawn_on_a_line() -> None:
    corpus = make_corpus(60, modalities=ONE)
    narrow = Sequences(corpus.sequences["x"].values[:, :1], corpus.sequences["x"].offsets)
    (plane,) = analyse_corpus(replace(corpus, sequences={"x": narrow})).planes
    assert list(plane.explained) == pytest.approx([1, 0])
    assert not plane.points["y"].any()


def test_the_numbers_are_those_of_the_corpus() -> None:
    corpus = with_gaps(with_speakers(make_corpus(2400, 4), 5))
    analysis = analyse_corpus(corpus)
    for fold, name, *counts in analysis.by_set.itertuples(index=False):
        assert counts == np.bincount(corpus.labels[corpus.folds[fold][name]], minlength=4).tolist()
    assert len(analysis.by_set) == len(corpus.folds) * len(SETS)
    assert analysis.by_speaker.drop(columns="speaker").to_numpy().sum() == len(corpus)
    combinations = dict(zip(analysis.combinations["letters"], analysis.combinations["utterances"], strict=True))
    assert combinations["avt"] == corpus.present.all(1).sum()
    assert sum(combinations.values()) == len(corpus)
    assert [plane.utterances for plane in analysis.planes] == corpus.present.sum(0).tolist()
    assert all(len(plane.points) <= POINTS for plane in analysis.planes)


def test_the_bars_of_combinations_count_their_utterances() -> None:
    corpus = with_gaps(make_corpus(300))
    bars = drawings(corpus)["modalities_together"].figure.axes[0].patches
    heights = analyse_corpus(corpus).combinations["utterances"].tolist()
    assert [bar.get_height() for bar in bars] == heights  # type: ignore[attr-defined]
    assert sum(heights) == 300


def test_names_that_cannot_be_drawn_are_numbered() -> None:
    corpus = replace(make_corpus(60, 3), classes=("joy", "sadness " * 12, "anger"))
    drawing = drawings(corpus)["classes_by_set"]
    assert legend(drawing.figure) == ["1", "2", "3"]
    assert "Classes are numbered" in drawing.caption
    assert "3 anger" in drawing.caption


def test_the_page_escapes_names() -> None:
    hostile = replace(make_corpus(60), name="<b>bold</b>", about="<script>alert(1)</script>")
    page = render_corpus_page(hostile)
    assert "<script>" not in page
    assert "<h1>The corpus &lt;b&gt;bold&lt;/b&gt;</h1>" in page
    assert page.count("data:image/png") == len(list(corpus_figures(analyse_corpus(hostile))))


def test_describe_writes_the_page_and_lists_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = make_corpus(60, modalities=AVT)
    shared = corpus.utterances.append_column("dialogue", pa.array([f"d{row % 20}" for row in range(60)]))
    write_corpus(replace(corpus, utterances=shared), folder_for("small", "store"))
    run = CliRunner().invoke
    assert run(app, ["data", "describe", "small", "--html", "--storage", "store"]).output == "Wrote small.html.\n"
    assert (tmp_path / "small.html").read_text().startswith("<!doctype html>")
    assert run(app, ["data", "describe", "small", "--html", "page.html", "--storage", "store"]).exit_code == 0
    assert (tmp_path / "page.html").is_file()
    described = json.loads(run(app, ["data", "describe", "small", "--json", "--storage", "store"]).output)
    first = described["leaks"][0]
    assert (first["kind"], first["fold"], first["sets"], first["count"]) == ("dialogue", 1, ["train", "validation"], 20)
    assert first["first"][:2] == ["d0", "d1"]
    assert "same dialogue" in run(app, ["data", "describe", "small", "--storage", "store"]).output
