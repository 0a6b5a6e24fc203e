"""Experiments on corpora of other modalities, and of utterances that lack some: from the plan to the served model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifmmin.data.catalogue import find_corpus, folder_for
from ifmmin.data.conditions import all_conditions
from ifmmin.data.corpus import Corpus, write_corpus
from ifmmin.data.modalities import Modality
from ifmmin.orchestrator.analysis.experiment import analyse
from ifmmin.orchestrator.analysis.results import load_results
from ifmmin.orchestrator.analysis.scores import AVERAGE, columns_in, columns_of, groups_of
from ifmmin.orchestrator.analysis.trained_runs import trained_runs
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import PlanError, make_plan
from ifmmin.orchestrator.reporting import formats
from ifmmin.orchestrator.reporting.description import describe_system
from ifmmin.orchestrator.reporting.report import make_report, report_files
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.tracking.metrics import measure_scores
from ifmmin.orchestrator.tracking.models import ServedModel, read_runs, write_runs
from tests.orchestrator.conftest import run_in_this_process
from tests.small import FOUR, ONE, TWO, make_corpus, with_gaps

CASES = {
    "one": (make_corpus(modalities=ONE), ["fusion"]),
    "two with gaps": (with_gaps(make_corpus(modalities=TWO)), ["fusion", "mctn", "if-mmin"]),
    "four with gaps": (with_gaps(make_corpus(modalities=FOUR)), ["augmented", "if-mmin"]),
    "three, some removed in training": (make_corpus(), ["fusion", "if-mmin"]),
}


@pytest.fixture(scope="module", params=CASES)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An experiment on two folds, finished."""
    corpus, systems = CASES[request.param]
    store = Store(str(tmp_path_factory.mktemp("modalities")))
    corpus = write_corpus(corpus, folder_for("small", store.root))
    hyperparameters = {"epochs": 2, "batch_size": 8} | ({"steps": 4} if "mctn" in systems else {})
    changes = {"corpus": "small", "systems": systems, "folds": "1,2", "hyperparameters": hyperparameters}
    if "removed" in request.param:
        changes["train_missing"] = "a=0.5,v=0.2"
    configuration = load_configuration("demo", {**changes, "storage": store.location})
    experiment = Experiment(configuration, corpus, make_plan(configuration, corpus), store)
    run_in_this_process(experiment.plan, corpus, store)
    return experiment


def having(corpus: Corpus, fold: int, condition: str) -> list[str]:
    """The test utterances that have all modalities of a condition."""
    rows = corpus.folds[fold].test
    return [corpus.names[row] for row in rows if all(len(corpus.sequences[letter][row]) for letter in condition)]


def test_each_condition_is_evaluated_on_the_utterances_that_have_its_modalities(finished: Experiment) -> None:
    corpus = finished.corpus
    results = load_results(finished.plan, finished.store, corpus.letters)
    assert results is not None
    means = [*groups_of(corpus.letters), *[AVERAGE] * (len(corpus.letters) > 1)]
    named = [*all_conditions(corpus.letters), *means]
    for (system, fold), part in results.predictions.groupby(["system", "fold"]):
        scores = results.scores[(results.scores["system"] == system) & (results.scores["fold"] == fold)]
        assert scores["condition"].tolist() == named
        for condition in all_conditions(corpus.letters):
            rows, expected = part[part["condition"] == condition], having(corpus, int(str(fold)), condition)
            assert rows["utterance"].tolist() == expected
            row = scores[scores["condition"] == condition].iloc[0]
            assert row["utterances"] == len(expected)
            assert row["wa"] == pytest.approx((rows["label"] == rows["prediction"]).mean())
    assert set(results.summary["condition"]) == set(named)
    assert columns_in(results.summary) == columns_of(corpus.letters)


def test_the_report_and_the_table_have_a_place_for_each_condition_and_say_how_many(finished: Experiment) -> None:
    corpus = finished.corpus
    results = load_results(finished.plan, finished.store, corpus.letters)
    assert results is not None
    analysis = analyse(finished, results)
    files = report_files(make_report(analysis))
    header = f"| % | system | runs | {' | '.join(columns_of(corpus.letters))} |"
    assert files["table.md"].decode().startswith(header)
    assert ">nan<" not in files["report.html"].decode().lower()
    for condition in all_conditions(corpus.letters):
        assert any(f"<{cell}>{condition}</{cell}>" in files["report.html"].decode() for cell in ("th", "td"))
    for modality in corpus.modalities:
        assert f"{modality.letter}: {modality.title}" in files["report.html"].decode()
    removed = (
        "trained with modalities removed at random from the training utterances, one at least kept: a 50 %, v 20 %"
    )
    for text in (files["table.md"].decode(), formats.latex(results.summary, None, analysis.remarks).replace("\\", "")):
        assert ("each condition on the utterances that have its modalities" in text) == (not corpus.present.all())
        assert (removed in text) == bool(finished.configuration.train_missing)
    described = describe_system(finished, finished.plan.systems[-1])
    assert described.get("train_missing") == ("a=0.5,v=0.2" if analysis.remarks else None)
    names = {measurement.name for measurement in measure_scores(results.summary, 0)}
    assert {f"test/wa/{condition}" for condition in columns_of(corpus.letters)} <= names


def test_the_served_model_predicts_what_an_utterance_has(finished: Experiment, tmp_path: Path) -> None:
    corpus = finished.corpus
    runs = [run for run in finished.plan.runs if run.system == finished.plan.systems[-1] and run.fold == 1]
    write_runs(trained_runs(finished, runs), tmp_path / "runs")
    rows = corpus.folds[1].test
    columns = {
        letter: [part.tolist() if len(part := corpus.sequences[letter][row]) else None for row in rows]
        for letter in corpus.letters
    }
    frame = pd.DataFrame({"utterance": [corpus.names[row] for row in rows], **columns})
    predicted = ServedModel(read_runs(tmp_path / "runs")).predict(frame, {"every_condition": True})
    stored = finished.store.read_table(runs[0].evaluation, "predictions").to_pandas()
    assert len(predicted) == len(stored)
    keys = list(zip(stored["condition"], stored["utterance"], strict=True))
    values = predicted.set_index(["condition", "utterance"]).loc[keys][[f"p_{name}" for name in corpus.classes]]
    np.testing.assert_allclose(values.to_numpy(np.float32), np.stack(stored["probabilities"].to_list()), atol=1e-5)


def test_a_corpus_keeps_its_modalities_in_the_store(finished: Experiment) -> None:
    read = find_corpus("small", finished.store.root)
    assert read.modalities == finished.corpus.modalities
    assert all(isinstance(modality, Modality) for modality in read.modalities)


def test_a_system_that_makes_no_sense_with_one_modality_is_refused_in_a_sentence() -> None:
    configuration = load_configuration("demo", {"systems": ["if-mmin"]})
    with pytest.raises(PlanError, match=r"if-mmin needs a corpus of at least 2 modalities.*1 \(x\); choose among"):
        make_plan(configuration, make_corpus(modalities=ONE))
