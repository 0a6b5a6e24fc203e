from pathlib import Path

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from typer.testing import CliRunner

from ifmmin.data.audit import audit
from ifmmin.data.catalogue import find_corpus
from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus, compute_fingerprint, training_statistics
from ifmmin.data.errors import UserError
from ifmmin.data.synthesis import CLASSES, _classify, _draw_latents, _means, synthesise
from ifmmin.orchestrator.commands.data import app as data_app
from tests.small import ALL_CONDITIONS

SMALL: dict[str, int] = {"a": 12, "v": 14, "t": 16}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return synthesise(utterances=1500, dimensions=SMALL)


def test_it_has_the_shape_of_iemocap(corpus: Corpus) -> None:
    lengths = corpus.sequences["a"].lengths
    assert lengths.min() == 8
    assert np.median(lengths) == pytest.approx(36, abs=3)
    assert lengths.mean() == pytest.approx(43, abs=4)
    assert np.quantile(lengths, 0.9) == pytest.approx(83, abs=8)
    assert set(corpus.sequences["v"].lengths) == {50}
    assert set(corpus.sequences["t"].lengths) == {22}
    assert corpus.classes == CLASSES
    assert np.bincount(corpus.labels) / 1500 == pytest.approx([0.2, 0.3, 0.31, 0.2], abs=0.04)
    assert len(set(corpus.speakers or [])) == 10


def test_its_folds_are_speaker_independent_and_complete(corpus: Corpus) -> None:
    assert [f.check for f in audit(corpus)] == ["all zero"]  # lost faces, as in IEMOCAP
    assert sorted(np.concatenate([fold.test for fold in corpus.folds.values()])) == list(range(1500))


def test_the_same_seed_draws_the_same_corpus_and_another_another(corpus: Corpus) -> None:
    again, other = (synthesise(utterances=1500, dimensions=SMALL, seed=seed) for seed in (0, 1))
    assert compute_fingerprint(again) == compute_fingerprint(corpus) != compute_fingerprint(other)


def test_more_modalities_allow_more_and_none_allows_everything(corpus: Corpus) -> None:
    best = {Condition(c): value for c, value in corpus.best.items()}
    for condition in ALL_CONDITIONS:
        assert 0.5 < best[condition] < 0.95
        for larger in ALL_CONDITIONS:
            if set(condition) < set(larger):
                assert best[condition] < best[larger]


def test_the_best_accuracy_equals_an_independent_bayes_rule() -> None:
    """One modality, many frames: the densities written down with SciPy, class by class."""
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(5)
    labels = rng.integers(4, size=3000)
    observed = _draw_latents(rng, labels)
    noise, frames = np.full((3000, 3), 1e-9), np.full((3000, 3), 10)
    shares = np.array([1103, 1636, 1708, 1084]) / 5531
    densities = [
        p * multivariate_normal(mean[2], np.eye(3)).pdf(observed[:, 2])
        for p, mean in zip(shares, _means(), strict=True)
    ]
    assert np.array_equal(_classify(Condition("t"), observed, noise, frames), np.argmax(densities, 0))


def test_a_simple_classifier_comes_near_the_best_and_not_above(corpus: Corpus) -> None:
    averages = {}
    for modality, sequences in corpus.sequences.items():
        mean, deviation = training_statistics(corpus, 1, modality)
        standard = [(sequences[i] - mean) / deviation for i in range(len(corpus))]
        averages[modality] = np.stack([part.mean(0) for part in standard])
    for condition in ALL_CONDITIONS:
        features = np.concatenate([averages[m] for m in condition.available], 1)
        correct = []
        for fold in corpus.folds.values():
            rule = LinearDiscriminantAnalysis().fit(features[fold.train], corpus.labels[fold.train])
            correct.append(rule.predict(features[fold.test]) == corpus.labels[fold.test])
        reached = np.concatenate(correct).mean()
        assert 0.8 * corpus.best[condition] < reached < corpus.best[condition] + 0.03, condition


def test_the_command_makes_it(tmp_path: Path) -> None:
    arguments = ["synth", "--utterances", "300", "--dimensions", "5,6,7", "--storage", str(tmp_path)]
    result = CliRunner().invoke(data_app, arguments)
    assert result.exit_code == 0, result.output
    assert "Best possible WA" in result.output
    assert find_corpus("synthetic", tmp_path).dimensions == {"a": 5, "v": 6, "t": 7}


@pytest.mark.parametrize(
    "options", [["--dimensions", "5,6"], ["--dimensions", "5,6,x"], ["--dimensions", "1,9,9"], ["--utterances", "10"]]
)
def test_impossible_sizes_are_refused(tmp_path: Path, options: list[str]) -> None:
    result = CliRunner().invoke(data_app, ["synth", *options, "--storage", str(tmp_path)])
    assert isinstance(result.exception, UserError)
    assert options[0] in str(result.exception)
    assert list(tmp_path.iterdir()) == []
