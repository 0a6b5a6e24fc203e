"""Corpora of one to four modalities, and utterances that lack some: what is computed, and what must not matter."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from ifmmin.data.batches import Batch, Examples, availability
from ifmmin.data.conditions import Condition, all_conditions, missing_conditions
from ifmmin.data.corpus import Corpus
from ifmmin.data.modalities import AVT, Modality
from ifmmin.model.conformance.training import hyperparameters_for, train_system, upstream_of
from ifmmin.model.definition import Losses, Shape, StageDefinition, System
from ifmmin.model.draws import draw_availability
from ifmmin.model.encoders import Encodings, SpecificityEncoders, VectorEncoder
from ifmmin.model.evaluation import predict
from ifmmin.model.initialisation import initialise
from ifmmin.model.losses import (
    central_moment_discrepancy,
    error_of_features,
    mean_cross_entropy,
    mean_squared_error,
    pairwise_discrepancy,
)
from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy
from ifmmin.model.protocols import PROTOCOLS, draw_conditions, run_protocol
from ifmmin.model.run import Start, TrainingRun
from ifmmin.model.stacking.training import train_stacked
from ifmmin.model.systems import REFERENCE, SYSTEMS
from ifmmin.model.systems.if_mmin import IFMMIN, InvariancePretraining, Targets
from ifmmin.model.training import train
from tests.small import FOUR, ONE, TWO, make_corpus, with_gaps

CORPORA = {
    "one": make_corpus(modalities=ONE),
    "two": make_corpus(modalities=TWO),
    "two with gaps": with_gaps(make_corpus(modalities=TWO)),
    "three with gaps": with_gaps(make_corpus()),
    "four": make_corpus(modalities=FOUR),
    "four with gaps": with_gaps(make_corpus(modalities=FOUR)),
}
GAPS = {name: corpus for name, corpus in CORPORA.items() if "gaps" in name}


def on_each_corpus() -> Iterator[object]:
    """Every system on every corpus that it makes sense on; those of the reference are the fast ones."""
    for name, corpus in CORPORA.items():
        for system in SYSTEMS.values():
            if len(corpus.letters) >= system.fewest_modalities and set(system.needs) <= set(corpus.letters):
                fast = system.name == REFERENCE or (name == "two with gaps" and system.name == "mctn")
                marks = () if fast else (pytest.mark.slow,)  # a minute for all of them
                yield pytest.param(system, corpus, id=f"{system.name}, {name}", marks=marks)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(corpus: Corpus, rows: int = 16) -> Batch:
    return Examples(corpus, 1, "train").batch(torch.arange(rows))


@pytest.mark.parametrize(("system", "corpus"), on_each_corpus())
def test_a_system_learns_and_predicts_every_condition_of_a_corpus(system: System, corpus: Corpus) -> None:
    trained = train_system(system, corpus, epochs=6)
    conditions, test = all_conditions(corpus.letters), Examples(corpus, 1, "test")
    probabilities = predict(trained.network, test, conditions)
    assert probabilities.shape == (len(conditions), len(test), 3)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(conditions), len(test)))
    for stage in trained.stages.values():
        first, *later = (epoch.losses["cls"] for epoch in stage.history)
        assert min(later) < first
        assert stage.weights


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("system", "corpus"), on_each_corpus())
def test_runs_trained_as_one_come_out_as_alone(system: System, corpus: Corpus) -> None:
    corpus = replace(
        corpus,
        sequences={m: replace(s, values=s.values.astype(np.float64)) for m, s in corpus.sequences.items()},
        fingerprint=f"{corpus.fingerprint} double",
    )
    trained: dict[int, dict[str, object]] = {1: {}, 2: {}}
    for stage, definition in system.stages.items():
        if not definition.stackable:
            continue
        hyperparameters = hyperparameters_for(definition, epochs=2, steps=4)
        starts = [Start(fold, 0, upstream_of(system, definition, trained[fold], corpus.letters)) for fold in (1, 2)]  # type: ignore[arg-type]
        names, networks = definition.stage_names(stage, corpus.letters), definition.networks(corpus.letters)
        for name, condition in list(zip(names, networks, strict=True))[-3:]:
            together = train_stacked(definition, hyperparameters, corpus, starts, condition=condition)
            for start, one in zip(starts, together, strict=True):
                other = train(definition, hyperparameters, corpus, start, condition=condition)
                assert not isinstance(one, Exception)
                for key, value in other.weights.items():
                    np.testing.assert_allclose(one.weights[key], value, atol=1e-6)
                for epoch, expected in zip(one.history, other.history, strict=True):
                    assert epoch.losses == pytest.approx(expected.losses, rel=1e-7)
                    assert (epoch.validation_wa, epoch.validation_ua) == (
                        expected.validation_wa,
                        expected.validation_ua,
                    )
                trained[start.fold][name] = other


# What is drawn.


@pytest.mark.parametrize("letters", ["ab", "abc", "abcd"])
def test_conditions_are_drawn_uniformly_among_those_that_leave_something(letters: str) -> None:
    count, conditions = 60_000, missing_conditions(letters)
    for has in all_conditions(letters):
        present = availability([has], letters).expand(count, -1)
        batch = Batch(dict.fromkeys(letters, torch.zeros(count)), {}, torch.zeros(count), torch.arange(count), present)
        masks = draw_availability(batch, seeded())
        assert not (masks & ~present).any()
        assert masks.any(1).all()
        possible = [set(condition) & set(has) for condition in conditions if set(condition) & set(has)]
        for left in {frozenset(part) for part in possible}:
            expected = sum(part == left for part in possible) / len(possible)
            mask = torch.tensor([letter in left for letter in letters])
            assert float((masks == mask).all(1).float().mean()) == pytest.approx(expected, abs=0.01)


def test_complete_utterances_are_drawn_as_in_a_set_without_gaps() -> None:
    count = 500
    present = torch.rand(count, 3, generator=seeded(1)) > 0.3
    present[~present.any(1)] = True
    features = dict.fromkeys("avt", torch.zeros(count))
    whole = Batch(features, {}, torch.zeros(count), torch.arange(count))
    masks, same = draw_availability(whole, seeded()), draw_availability(replace(whole, present=present), seeded())
    assert torch.equal(masks[present.all(1)], same[present.all(1)])
    direct = torch.randint(6, (count,), generator=seeded())
    assert torch.equal(masks, availability(missing_conditions("avt"), "avt")[direct])


def test_protocols_take_away_only_what_utterances_have() -> None:
    count = 40_000
    present = torch.tensor([[True, False, True], [False, True, False], [True, True, True]]).repeat(count, 1)
    conditions = all_conditions("avt")
    drawn = draw_conditions(len(present), 0.5, seeded(), "avt", present)
    masks = availability(conditions, "avt")[drawn]
    assert not (masks & ~present).any()
    shares = [np.bincount(drawn[kind::3], minlength=7) / count for kind in range(3)]
    assert shares[0][conditions.index(Condition("at"))] == pytest.approx(0.25, abs=0.01)
    assert shares[0][conditions.index(Condition("a"))] == pytest.approx(0.375, abs=0.01)
    assert shares[1][conditions.index(Condition("v"))] == 1
    whole = draw_conditions(len(present), 0.5, seeded(), "avt")
    assert torch.equal(drawn[2::3], whole[2::3])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols_run_on_utterances_with_gaps(protocol: str) -> None:
    corpus = GAPS["two with gaps"]
    network, test = train_system(SYSTEMS["augmented"], corpus, epochs=1).network, Examples(corpus, 1, "test")
    assert torch.isfinite(run_protocol(protocol, network, test, seed=0, fold=1)).all()


# The losses, by small formulas.


def test_errors_are_means_over_the_features_that_exist() -> None:
    x = torch.tensor([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]])
    target = torch.tensor([[[0.0, 0], [torch.nan, torch.inf]], [[5, 5], [7, 6]]])
    present = torch.tensor([[True, False], [True, True]])
    assert float(error_of_features(x, target, present)) == pytest.approx((1 + 4 + 0 + 1 + 0 + 4) / 6)
    assert float(error_of_features(x, target.nan_to_num(), torch.zeros(2, 2, dtype=torch.bool))) == 0
    assert float(mean_squared_error(x[..., 0], x[..., 1], torch.tensor([[True, False]]))) == 1


def test_cross_entropy_is_the_mean_over_the_utterances_that_count() -> None:
    logits, labels = torch.randn(4, 3, generator=seeded()), torch.tensor([0, 1, 2, 0])
    counts = torch.tensor([True, False, True, False])
    expected = -(logits[0].log_softmax(0)[0] + logits[2].log_softmax(0)[2]) / 2
    torch.testing.assert_close(mean_cross_entropy(logits, labels, counts), expected)
    assert float(mean_cross_entropy(logits, labels, torch.zeros(4, dtype=torch.bool))) == 0


@pytest.mark.parametrize("moment_order", [1, 2, 5])
def test_cmd_of_a_pair_is_over_the_utterances_that_have_both(moment_order: int) -> None:
    features = torch.randn(9, 4, 5, generator=seeded(), dtype=torch.float64)
    present = torch.rand(9, 4, generator=seeded(1)) > 0.4
    present[:, 3] = ~present[:, 2]  # no utterance has both of these
    expected = []
    for one, other in combinations(range(4), 2):
        both = present[:, one] & present[:, other]
        if both.any():
            expected.append(central_moment_discrepancy(features[both, one], features[both, other], moment_order))
    assert len(expected) == 5
    garbage = features.masked_fill(~present[..., None], torch.nan).requires_grad_()
    actual = pairwise_discrepancy(garbage, moment_order, present)
    torch.testing.assert_close(actual, torch.stack(expected).mean(), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(actual, garbage)
    assert (gradient[~present] == 0).all()
    assert torch.isfinite(gradient).all()


def test_cmd_without_gaps_is_the_same_by_either_way() -> None:
    features = torch.randn(9, 3, 5, generator=seeded(), dtype=torch.float64)
    whole = pairwise_discrepancy(features, 5)
    torch.testing.assert_close(pairwise_discrepancy(features, 5, torch.ones(9, 3, dtype=torch.bool)), whole)
    nothing = pairwise_discrepancy(features.requires_grad_(), 5, torch.eye(3, dtype=torch.bool).repeat(3, 1))
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, features)[0].any()


# What is absent does not matter.


def poisoned(batch: Batch, value: float) -> Batch:
    """The same batch with this value where utterances lack a modality."""
    assert batch.present is not None
    features = {
        m: x.masked_fill(~batch.present[:, index, None, None], value)
        for index, (m, x) in enumerate(batch.features.items())
    }
    assert any(not torch.equal(features[m], x) for m, x in batch.features.items())
    return replace(batch, features=features)


@pytest.mark.parametrize("may_look", [True, False], ids=["as on a CPU", "as on a GPU"])
@pytest.mark.parametrize("value", [1e3, torch.nan, torch.inf])
@pytest.mark.parametrize("system", SYSTEMS)
def test_what_stands_where_a_modality_lacks_changes_no_bit(
    system: str, value: float, may_look: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ifmmin.model.encoders._may_look", lambda _: may_look)
    corpus = GAPS["three with gaps"]
    for definition, run in runs_of(SYSTEMS[system], corpus):
        results = []
        batch = run.training.batch(torch.arange(16))
        for variant in (batch, poisoned(batch, value)):
            run.network.zero_grad()
            losses: Losses = run.objective(variant, seeded())
            losses.total.backward()  # type: ignore[no-untyped-call]
            gradients = [p.grad.clone() for p in run.network.parameters() if p.grad is not None]
            with torch.no_grad():
                logits = run.network.logits(variant, run.network.selection)
            results.append([losses.total.detach(), *losses.terms.values(), *gradients, logits])
        assert all(torch.isfinite(part).all() for part in results[0]), definition.name
        assert all(torch.equal(*pair) for pair in zip(*results, strict=True)), definition.name


def runs_of(system: System, corpus: Corpus) -> Iterator[tuple[StageDefinition, TrainingRun]]:
    """Runs about to start: every stage of a system, and of one with many networks a few."""
    trained = train_system(system, corpus, epochs=1).stages
    for definition in system.stages.values():
        start = Start(1, 0, upstream_of(system, definition, trained, corpus.letters))
        for condition in definition.networks(corpus.letters)[::3]:
            yield definition, TrainingRun(definition, hyperparameters_for(definition), corpus, start, condition, "cpu")


def targets_of(teacher: InvariancePretraining, batch: Batch) -> Targets:
    with torch.no_grad():
        specific = teacher.encoders.both(batch)
        return Targets(specific, teacher.invariance(specific.real))


def test_targets_of_lacking_modalities_have_no_gradient_and_no_share_in_the_losses() -> None:
    corpus = GAPS["three with gaps"]
    batch = batch_of(corpus)
    assert batch.present is not None
    teacher, student = InvariancePretraining(Shape.of(corpus), 0.0), IFMMIN(Shape.of(corpus), 0.0)
    for index, network in enumerate((teacher, student)):
        initialise(network, seeded(index))
    available, targets = draw_availability(batch, seeded()), targets_of(teacher, batch)
    parts = {
        name: part.clone().requires_grad_()
        for name, part in {
            "real": targets.specific.real,
            "zero": targets.specific.zero,
            "invariant": targets.invariant,
        }.items()
    }
    of_parts = Targets(Encodings(parts["real"], parts["zero"]), parts["invariant"])
    losses = student.losses(batch, available, of_parts, 1.0, 100.0)
    gradients = dict(zip(parts, torch.autograd.grad(losses.total, list(parts.values())), strict=True))
    for gradient in gradients.values():
        assert (gradient[~batch.present] == 0).all()
        assert gradient[batch.present].any()

    h = student.encoders(batch, available)
    invariant, imagined, _ = student(h)
    squared = {"img": (imagined - targets.specific.under(~available)) ** 2, "inv": (invariant - targets.invariant) ** 2}
    for name, errors in squared.items():
        expected = np.mean([errors[i, m].mean().item() for i, m in batch.present.nonzero().tolist()])
        assert losses.terms[name].item() == pytest.approx(expected, rel=1e-5)


def test_what_an_utterance_lacks_is_encoded_as_zeros_of_the_median_length() -> None:
    corpus = GAPS["three with gaps"]
    encoders = SpecificityEncoders(corpus.modalities, corpus.dimensions, 6)
    initialise(encoders, seeded())
    examples = Examples(corpus, 1, "train")
    batch = examples.batch(torch.arange(len(examples)))
    assert batch.present is not None
    h = encoders(batch)
    for index, letter in enumerate(corpus.letters):
        lengths = corpus.sequences[letter].lengths[corpus.folds[1].train]
        median = int(np.median(lengths[lengths > 0]))
        lacking = ~batch.present[:, index]
        assert (batch.lengths[letter][lacking] == median).all()
        assert not batch.features[letter][lacking].any()
        zeros = torch.zeros(1, median, corpus.dimensions[letter])
        encoder = encoders.of(letter)
        expected = encoder.project(encoder.pool(zeros, torch.tensor([median])), None)
        torch.testing.assert_close(h[lacking, index], expected.expand(int(lacking.sum()), -1), rtol=1e-4, atol=1e-6)
    both = encoders.both(batch)
    torch.testing.assert_close(both.under(batch.present), h)
    assert torch.equal(both.real[~batch.present], both.zero[~batch.present])


# What is evaluated.


def test_validation_counts_utterances_that_have_all_of_a_condition() -> None:
    corpus = GAPS["three with gaps"]
    _, run = list(runs_of(SYSTEMS["augmented"], corpus))[-1]
    examples, conditions = run.validation, run.network.selection
    probabilities = torch.rand(len(conditions), len(examples), 3, generator=seeded())
    probabilities /= probabilities.sum(-1, keepdim=True)
    run.end_epoch({"total": 1.0}, probabilities, 0.0)
    labels, predictions = [], []
    for row, index in enumerate(corpus.folds[1].validation):
        for place, condition in enumerate(conditions):
            if all(corpus.sequences[letter].lengths[index] for letter in condition):
                labels.append(corpus.labels[index])
                predictions.append(int(probabilities[place, row].argmax()))
    assert len(labels) < probabilities.shape[0] * probabilities.shape[1]
    (epoch,) = run.history
    assert epoch.validation_wa == pytest.approx(weighted_accuracy(labels, predictions))
    assert epoch.validation_ua == pytest.approx(unweighted_accuracy(labels, predictions))


def test_where_no_utterance_is_complete_pretraining_is_selected_by_all_with_what_they_have() -> None:
    corpus = make_corpus(modalities=AVT[:2])
    first = np.arange(len(corpus)) % 4 < 2
    sequences = {"a": corpus.sequences["a"].keep(first), "v": corpus.sequences["v"].keep(~first)}
    trained = train_system(SYSTEMS[REFERENCE], replace(corpus, sequences=sequences, fingerprint="apart"), epochs=2)
    assert all(stage.weights for stage in trained.stages.values())


# The encoder of one vector.


def test_a_vector_is_encoded_by_a_linear_layer_and_relu() -> None:
    encoder = VectorEncoder(4, 3)
    x = torch.randn(5, 1, 4, generator=seeded())
    lengths = torch.ones(5, dtype=torch.int64)
    expected = torch.relu(x[:, 0] @ encoder.output.weight.T + encoder.output.bias)
    torch.testing.assert_close(encoder.project(encoder.pool(x, lengths), None), expected)
    zeros = encoder.project(encoder.pool_zeros(lengths, 1), None)
    torch.testing.assert_close(zeros, torch.relu(encoder.output.bias).expand(5, -1))


def test_networks_of_other_modalities_have_an_encoder_for_each_by_its_letter() -> None:
    kinds = {
        letter: type(part).__name__
        for letter, part in SpecificityEncoders(FOUR, dict.fromkeys("bvtp", 5)).named_children()
    }
    assert kinds == {"b": "SequenceEncoder", "v": "SequenceEncoder", "t": "TextEncoder", "p": "VectorEncoder"}


@pytest.mark.parametrize("count", [2, 4, 5])
def test_the_width_of_a_network_is_that_of_all_modalities(count: int) -> None:
    modalities = tuple(Modality(letter, letter) for letter in "abcde"[:count])
    shape = Shape(modalities, dict.fromkeys("abcde"[:count], 3), 4)
    network = IFMMIN(shape, 0.5, hidden=8)
    assert len(network.selection) == 2**count - 2
    first: Tensor = next(network.imagination.blocks[0].parameters())
    assert first.shape[1] == 8 * count
