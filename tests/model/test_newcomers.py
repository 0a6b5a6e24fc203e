"""Systems that are not the package's: each is right, in a stack as alone, or refused in a sentence."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples
from ifmmin.data.conditions import Condition
from ifmmin.data.errors import UserError
from ifmmin.model.checks import check_system
from ifmmin.model.conformance.checks import Subject, check_stacking
from ifmmin.model.conformance.training import hyperparameters_for, train_interrupted, train_system
from ifmmin.model.definition import Losses, Network, Shape, StageDefinition, System
from ifmmin.model.draws import Generator
from ifmmin.model.evaluation import predict
from ifmmin.model.hyperparameters import hyperparameter
from ifmmin.model.layers import load_weights
from ifmmin.model.run import Start, Trained, TrainingRun
from ifmmin.model.stacking.training import train_stacked
from ifmmin.model.systems import SYSTEMS, register
from ifmmin.model.training import train
from tests.model.newcomers import (
    BATCH_NORM,
    DISTILLED,
    EXPERTS,
    HIDDEN,
    NEWCOMERS,
    OVER_TIME,
    TRANSFORMER,
    WORDS,
    Classification,
    Hyperparameters,
    MeanNetwork,
    Mixture,
    Transformer,
    define,
    system_of,
)
from tests.small import ALL_CONDITIONS, make_corpus

CORPUS = make_corpus(utterances=96)
STACKABLE = [s for s in NEWCOMERS.values() if all(d.stackable for d in s.stages.values())]


def train_one(definition: StageDefinition, **values: Any) -> Trained:
    return train(definition, hyperparameters_for(definition, **{"epochs": 2, **values}), CORPUS, Start(1, 0))


def same(first: Trained, second: Trained) -> bool:
    return all(np.array_equal(second.weights[name], value) for name, value in first.weights.items())


@pytest.fixture(params=list(NEWCOMERS.values()), ids=list(NEWCOMERS))
def system(request: pytest.FixtureRequest) -> System:
    chosen: System = request.param
    return chosen


def test_a_newcomer_is_as_the_framework_assumes(system: System) -> None:
    check_system(system)


def test_a_newcomer_repeats_resumes_and_predicts_without_batch_mates(system: System) -> None:
    first = train_system(system, CORPUS, epochs=2)
    torch.manual_seed(99)
    again = train_system(system, CORPUS, epochs=2)
    resumed = train_system(system, CORPUS, train=train_interrupted, epochs=2)
    for stage, trained in first.stages.items():
        assert same(trained, again.stages[stage])
        assert same(trained, resumed.stages[stage])
    examples = Examples(CORPUS, 1, "test")
    together = predict(first.network, examples, ALL_CONDITIONS)
    alone = first.network.logits(examples.batch(torch.tensor([13])), ALL_CONDITIONS).softmax(-1)
    torch.testing.assert_close(alone[:, 0], together[:, 13], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("system", STACKABLE, ids=lambda system: system.name)
def test_a_newcomer_in_a_stack_comes_out_as_it_does_alone(system: System) -> None:
    check_stacking(Subject.of(system))


def test_a_mixture_has_all_of_its_experts() -> None:
    trained = train_system(EXPERTS, CORPUS, epochs=8)
    mixture = trained.network
    assert isinstance(mixture, Mixture)
    for modality, expert in mixture.experts.items():
        weights = trained.stages[f"expert-{modality}"].weights
        assert all(np.array_equal(value.numpy(), weights[name]) for name, value in expert.state_dict().items())
    others = [trained.stages[f"expert-{modality}"].weights["output.weight"] for modality in "avt"]
    assert not np.array_equal(others[0], others[1])
    assert not np.array_equal(others[1], others[2])


def test_running_statistics_are_kept_with_the_weights() -> None:
    (definition,) = BATCH_NORM.stages.values()
    trained = train_one(definition)
    assert trained.weights["body.1.num_batches_tracked"] in (2, 4)  # two batches an epoch
    assert np.abs(trained.weights["body.1.running_mean"]).max() > 0
    network = definition.network(Shape.of(CORPUS), hyperparameters_for(definition))
    load_weights(network, trained.weights)
    assert not any(module.training for module in network.modules())


def test_a_teacher_neither_learns_nor_normalises_by_the_batch() -> None:
    trained = train_system(DISTILLED, CORPUS, epochs=1)
    definition, start = DISTILLED.stages["train"], Start(1, 0, {"teach": trained.stages["teach"].weights})
    run = TrainingRun(definition, hyperparameters_for(definition), CORPUS, start, None, "cpu")
    run.network.train()
    run.objective(run.training.batch(torch.arange(8)), run.draws)
    kept = {name.removeprefix("teacher."): value for name, value in run.objective.state_dict().items()}
    assert all(np.array_equal(kept[name].numpy(), value) for name, value in start.upstream["teach"].items())


def test_words_and_booleans_choose_a_network() -> None:
    (definition,) = WORDS.stages.values()
    relu, tanh, wide = (train_one(definition, **v) for v in ({}, {"activation": "tanh"}, {"wide": True}))
    assert not same(relu, tanh)
    assert len(wide.weights) > len(relu.weights)
    with pytest.raises(UserError, match="activation cannot be tahn; did you mean 'tanh'"):
        train_one(definition, activation="tahn")
    with pytest.raises(UserError, match=r"wide is 0\.37; it must be true or false"):
        train_one(definition, wide=0.37)


def test_optimizer_and_schedule_are_the_definitions() -> None:
    (definition,) = OVER_TIME.stages.values()
    history = train_one(definition, learning_rate=0.01, epochs=3).history
    assert [epoch.learning_rate for epoch in history] == [0.01, 0.005, 0.0025]
    assert not same(train_one(definition), train_one(replace(definition, optimizer=define("x", MeanNetwork).optimizer)))


def test_a_stage_that_does_not_stack_is_not_stacked() -> None:
    (definition,) = TRANSFORMER.stages.values()
    with pytest.raises(AssertionError):
        train_stacked(definition, hyperparameters_for(definition), CORPUS, [Start(1, 0), Start(2, 0)])


def test_every_parameter_is_clipped_once_bare_and_shared_ones_too() -> None:
    network = define("x", lambda shape, _: Mixture(shape)).network(Shape.of(CORPUS), None)
    assert isinstance(network, Mixture)
    assert [network.gate] in network.clipping_groups()
    (definition,) = OVER_TIME.stages.values()
    network = definition.network(Shape.of(CORPUS), None)
    network.shared = network.output
    clipped = [id(parameter) for group in network.clipping_groups() for parameter in group]
    assert sorted(clipped) == sorted(map(id, network.parameters()))


# What is refused.


class FunctionalDropout(MeanNetwork):
    def logits(self, batch: Batch, conditions: Any) -> Tensor:
        return F.dropout(super().logits(batch, conditions), 0.5)


class WithEmbedding(MeanNetwork):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.emotions = nn.Embedding(shape.classes, HIDDEN)


class WithForgottenMemory(MeanNetwork):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.query = nn.Parameter(torch.empty(HIDDEN))


class WithRandomBuffer(MeanNetwork):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.register_buffer("frequencies", torch.randn(HIDDEN))


class WithoutSelection(MeanNetwork):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.selection = ()


class OtherShape(MeanNetwork):
    def logits(self, batch: Batch, conditions: Any) -> Tensor:
        return super().logits(batch, conditions).transpose(0, 1)


class LearntWeight(Classification):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.log_variance = nn.Parameter(torch.zeros(()))


class OfOneCondition(Classification):
    def forward(self, batch: Batch, generator: Generator) -> Losses:  # noqa: ARG002
        error = F.cross_entropy(self.network.logits(batch, (Condition("avt"),)).reshape(len(batch), -1), batch.labels)
        return Losses(error, {})


def with_body(*layers: nn.Module) -> Callable[[Shape, Any], Network]:
    return lambda shape, _: MeanNetwork(shape, lambda features: nn.Sequential(nn.Linear(features, HIDDEN), *layers))


REFUSED = {
    "dropout": (define("x", with_body(nn.Dropout(0.3))), r"body\.1 is a Dropout .* model\.draws\.dropout"),
    "dropout in a transformer": (define("x", lambda shape, _: Transformer(shape, 0.1)), "use model.draws.dropout"),
    "dropout between LSTMs": (
        define("x", with_body(nn.LSTM(HIDDEN, HIDDEN, 2, dropout=0.2))),
        "set its dropout to 0",
    ),
    "dropout of features": (define("x", with_body(nn.AlphaDropout(0.1))), "AlphaDropout"),
    "random slopes": (define("x", with_body(nn.RReLU())), "RReLU"),
    "an embedding": (define("x", lambda shape, _: WithEmbedding(shape)), r"emotions\.weight .* initialise"),
    "memory nobody sets": (define("x", lambda shape, _: WithForgottenMemory(shape)), "query of .* initialise"),
    "a random buffer": (define("x", lambda shape, _: WithRandomBuffer(shape)), "frequencies of .* initialise"),
    "no selection": (define("x", lambda shape, _: WithoutSelection(shape)), "needs an attribute selection"),
    "no network": (
        define("x", lambda *_: nn.Linear(3, 3)),  # type: ignore[arg-type]
        "must be a subclass of .*Network",
    ),
}

REFUSED_IN_TRAINING = {
    "functional dropout": (define("x", lambda shape, _: FunctionalDropout(shape)), "global random state"),
    "logits in another order": (
        define("x", lambda shape, _: OtherShape(shape), objective=OfOneCondition),
        r"must be \(conditions, utterances, classes\)",
    ),
    "a parameter of the objective": (
        define("x", lambda shape, _: MeanNetwork(shape), objective=LearntWeight),
        "log_variance of LearntWeight would not be trained",
    ),
}


def assert_a_sentence(error: UserError) -> None:
    assert "\n" not in str(error)
    assert str(error).endswith(".")


@pytest.mark.parametrize(("definition", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_be_silently_wrong_is_refused_when_it_is_registered(
    definition: StageDefinition, reason: str
) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        register(system_of(definition, "t"))
    assert_a_sentence(caught.value)
    assert "x" not in SYSTEMS


def test_a_system_that_reads_a_modality_by_name_says_so() -> None:
    with pytest.raises(UserError, match=r"reads modality t, .* System\(needs=\(\"t\",\)\)") as caught:
        check_system(replace(TRANSFORMER, needs=()))
    assert_a_sentence(caught.value)
    check_system(TRANSFORMER)


@pytest.mark.parametrize(
    ("definition", "reason"), {**REFUSED, **REFUSED_IN_TRAINING}.values(), ids={**REFUSED, **REFUSED_IN_TRAINING}.keys()
)
def test_what_would_be_silently_wrong_is_refused_before_it_gives_a_result(
    definition: StageDefinition, reason: str
) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        train_one(definition)
    assert_a_sentence(caught.value)


@dataclass(frozen=True, kw_only=True)
class Undeclared(Hyperparameters):
    heads: int = 4


@dataclass(frozen=True, kw_only=True)
class WithoutChoices(Hyperparameters):
    pooling: str = hyperparameter("mean", "how frames are pooled")


@dataclass(frozen=True, kw_only=True)
class OfAnotherKind(Hyperparameters):
    sizes: tuple[int, ...] = hyperparameter((1, 2), "sizes of layers")


PLAIN = define("plain", lambda shape, _: MeanNetwork(shape))
NAMES = {
    "a stage after a later one": (
        System("x", "", {"train": replace(PLAIN, after=("later",)), "later": PLAIN}),
        "'later', which is not an earlier stage",
    ),
    "a stage called evaluate": (System("x", "", {"evaluate": PLAIN}), "'evaluate' is not a valid stage name"),
    "no stage": (System("x", "", {}), "needs at least one stage"),
    "a search of nothing": (
        System("x", "", {"train": PLAIN}, search_space={"lamda": (0, 1, False)}),
        "search_space names 'lamda'",
    ),
    "the name of a shipped system": (System("mmin", "", {"train": PLAIN}), "A system 'mmin' already exists"),
    "the definition of another system": (
        System("x", "", {"train": replace(PLAIN, name="mctn")}),
        "stage definition .*'mctn'",
    ),
    "an undeclared hyperparameter": (system_of(replace(PLAIN, hyperparameters=Undeclared)), r"Undeclared\.heads"),
    "a word without choices": (system_of(replace(PLAIN, hyperparameters=WithoutChoices)), "needs choices"),
    "a list": (system_of(replace(PLAIN, hyperparameters=OfAnotherKind)), "must be an int, a float, a bool"),
}


@pytest.mark.parametrize(("system", "reason"), NAMES.values(), ids=NAMES.keys())
def test_impossible_names_are_refused_when_a_system_is_registered(system: System, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        register(system)
    assert_a_sentence(caught.value)


# Who initialises.


class Drawing(WithEmbedding):
    def initialise(self, generator: torch.Generator) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)


class Prepared(MeanNetwork):
    """Its constructor sets a layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        nn.init.constant_(self.output.weight, 0.25)


def initial(network: Callable[[Shape, Any], Network], seed: int = 0) -> Network:
    definition = define("x", network)
    return TrainingRun(definition, hyperparameters_for(definition), CORPUS, Start(1, seed), None, "cpu").network


def test_a_network_may_initialise_itself() -> None:
    networks = [initial(lambda shape, _: Drawing(shape), seed) for seed in (0, 0, 1)]
    weights = [network.get_parameter("emotions.weight") for network in networks]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_a_constructor_sets_is_kept_and_what_it_draws_is_drawn_anew() -> None:
    network = initial(lambda shape, _: Prepared(shape))
    assert (network.get_parameter("output.weight") == 0.25).all()
    assert (network.get_parameter("body.0.bias") == 0).all()
    assert torch.equal(
        network.get_parameter("body.0.weight"), initial(lambda s, _: Prepared(s)).get_parameter("body.0.weight")
    )


def test_building_a_network_leaves_the_global_random_state_as_it_was() -> None:
    before = torch.get_rng_state()
    initial(lambda shape, _: Transformer(shape))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
