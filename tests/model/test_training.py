import numpy as np
import pytest
import torch

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus, Sequences
from ifmmin.model.definition import Shape
from ifmmin.model.evaluation import predict
from ifmmin.model.optimization import constant_then_linear
from ifmmin.model.run import DivergedError, Precision, Start, Trained
from ifmmin.model.systems.if_mmin import SYSTEM, IFMMINHyperparameters, PretrainingHyperparameters
from ifmmin.model.training import train, trained_network
from tests.small import ALL_CONDITIONS, make_corpus

PRETRAIN, TRAIN = SYSTEM.stages["pretrain"], SYSTEM.stages["train"]
SHORT = {
    "pretrain": PretrainingHyperparameters(epochs=3, batch_size=5),
    "train": IFMMINHyperparameters(epochs=2, batch_size=5),
}


def pretrained(corpus: Corpus, precision: Precision = "float32") -> Trained:
    return train(PRETRAIN, SHORT["pretrain"], corpus, Start(1, 0), precision=precision)


def test_the_same_seed_gives_the_same_bits_whatever_the_global_state(corpus: Corpus) -> None:
    first = pretrained(corpus)
    torch.manual_seed(1234)
    torch.rand(17)
    np.random.default_rng().random(5)
    second = pretrained(corpus)
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert [e.losses for e in first.history] == [e.losses for e in second.history]
    third = train(TRAIN, SHORT["train"], corpus, Start(1, 0, {"pretrain": first.weights}))
    fourth = train(TRAIN, SHORT["train"], corpus, Start(1, 0, {"pretrain": second.weights}))
    assert all(np.array_equal(third.weights[name], fourth.weights[name]) for name in third.weights)


@pytest.mark.parametrize("other", [Start(1, 1), Start(2, 0)])
def test_another_seed_or_fold_gives_another_result(corpus: Corpus, other: Start) -> None:
    first, second = pretrained(corpus), train(PRETRAIN, SHORT["pretrain"], corpus, other)
    assert any(not np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_the_epoch_with_the_best_validation_ua_is_kept(corpus: Corpus) -> None:
    trained = train(PRETRAIN, PretrainingHyperparameters(epochs=6, batch_size=5), corpus, Start(1, 0))
    network = trained_network(PRETRAIN, PretrainingHyperparameters(), Shape.of(corpus), [trained.weights])
    validation = Examples(corpus, 1, "validation")
    predictions = predict(network, validation, [Condition("avt")])[0].argmax(-1)
    recalls = [float((predictions[validation.labels == c] == c).float().mean()) for c in range(3)]
    assert np.mean(recalls) == pytest.approx(max(e.validation_ua for e in trained.history))


def test_a_class_that_every_modality_shows_is_learnt_in_all_conditions() -> None:
    corpus = make_corpus(utterances=120)
    pretraining = PretrainingHyperparameters(epochs=20, batch_size=16, learning_rate=2e-3)
    stage1 = train(PRETRAIN, pretraining, corpus, Start(1, 0))
    training = IFMMINHyperparameters(epochs=30, batch_size=16, learning_rate=2e-3)
    stage2 = train(TRAIN, training, corpus, Start(1, 0, {"pretrain": stage1.weights}))
    network = trained_network(TRAIN, training, Shape.of(corpus), [stage2.weights])
    test = Examples(corpus, 1, "test")
    correct = predict(network, test, ALL_CONDITIONS).argmax(-1) == test.labels
    assert (correct.float().mean(1) > 0.6).all(), correct.float().mean(1)  # chance is a third
    losses = [epoch.losses["inv"] for epoch in stage2.history]
    assert set(stage2.history[0].losses) == {"total", "cls", "img", "inv"}
    assert losses[-1] < losses[0]


def test_a_prediction_does_not_depend_on_the_set_it_is_in(corpus: Corpus) -> None:
    network = trained_network(PRETRAIN, PretrainingHyperparameters(), Shape.of(corpus), [pretrained(corpus).weights])
    examples = Examples(corpus, 1, "test")
    together = predict(network, examples, ALL_CONDITIONS)
    for row in range(len(examples)):
        single = network.logits(examples.batch(torch.tensor([row])), ALL_CONDITIONS).softmax(-1)
        torch.testing.assert_close(single[:, 0], together[:, row], rtol=1e-5, atol=1e-6)


def test_training_reads_neither_test_nor_another_set(corpus: Corpus) -> None:
    spoilt = {}
    for modality, sequences in corpus.sequences.items():
        parts = [sequences[i].copy() for i in range(len(sequences))]
        for index in corpus.folds[1].test:
            parts[index] = np.full_like(parts[index], np.nan)
        spoilt[modality] = Sequences.of(parts)
    from dataclasses import replace

    first, second = pretrained(corpus), pretrained(replace(corpus, sequences=spoilt))
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_bfloat16_trains_too(corpus: Corpus) -> None:
    stage1 = pretrained(corpus, precision="bfloat16")
    stage2 = train(TRAIN, SHORT["train"], corpus, Start(1, 0, {"pretrain": stage1.weights}), precision="bfloat16")
    assert all(value.dtype == np.float32 for value in stage2.weights.values())
    assert any(not np.array_equal(stage1.weights[k], v) for k, v in pretrained(corpus).weights.items())


def test_a_loss_that_is_not_finite_raises(corpus: Corpus) -> None:
    with pytest.raises(DivergedError, match="learning_rate"):
        train(PRETRAIN, PretrainingHyperparameters(epochs=3, learning_rate=1e30), corpus, Start(1, 0))


def test_the_learning_rate_is_constant_and_then_linear() -> None:
    hyperparameters = PretrainingHyperparameters(learning_rate=1)
    rates = [constant_then_linear(hyperparameters, epoch) for epoch in range(20)]
    assert rates[:10] == [1.0] * 10
    assert rates[10:] == pytest.approx([1 - k / 11 for k in range(1, 11)])
    rates = [constant_then_linear(IFMMINHyperparameters(learning_rate=1), epoch) for epoch in range(40)]
    assert rates[19:22] == pytest.approx([1, 1 - 1 / 21, 1 - 2 / 21])
