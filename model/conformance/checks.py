"""The checks that every system passes, those of the package and those that people bring.

Each is a function of a `Subject` that raises `CheckError` with a sentence on what is wrong and how to fix it.
"""

import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import isclose
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples, Unit
from ifmmin.data.conditions import Condition, all_conditions
from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError
from ifmmin.data.modalities import AVT
from ifmmin.model.checks import check_system, modalities_for
from ifmmin.model.conformance.corpora import make_corpus, with_gaps, with_other_inputs, with_uneven_sets
from ifmmin.model.conformance.training import (
    TrainedSystem,
    hyperparameters_for,
    network_of,
    train_interrupted,
    train_system,
    upstream_of,
)
from ifmmin.model.definition import Network, Shape, System, Weights
from ifmmin.model.evaluation import predict
from ifmmin.model.run import DivergedError, Start, Trained, TrainingRun
from ifmmin.model.stacking.training import train_stacked
from ifmmin.model.training import train

LEARNT, LEARNT_ON_AVERAGE = 0.8, 0.7
"""The accuracy after training with all modalities and over all conditions; chance is a third."""

RUNS = ((1, 0), (2, 0), (1, 1), (3, 2))
"""Fold and seed of the runs that are trained as one."""


_NOT_FINITE = (
    "look for a division by 0, and for a softmax whose inputs are all masked, where everything that is read is missing"
)


class CheckError(UserError):
    """A system does not do what every system must."""


@dataclass(frozen=True)
class Subject:
    """A system that is checked, and the small corpus on which."""

    system: System
    corpus: Corpus

    @classmethod
    def of(cls, system: System) -> "Subject":
        """A system with a corpus that has the modalities it needs."""
        modalities = AVT if {modality.letter for modality in AVT}.issuperset(system.needs) else modalities_for(system)
        return cls(system, make_corpus(utterances=96, modalities=modalities))

    @cached_property
    def trained(self) -> TrainedSystem:
        """The system after two epochs."""
        return train_system(self.system, self.corpus, epochs=2)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions of the corpus."""
        return all_conditions(self.corpus.letters)

    @property
    def test(self) -> Examples:
        """The test set."""
        return Examples(self.corpus, 1, "test", unit=self.unit)

    @property
    def unit(self) -> Unit:
        """What the batches of the last stage are made of."""
        return list(self.system.stages.values())[-1].unit

    def predict(self, examples: Examples | None = None) -> Tensor:
        """Probabilities of the test set, (conditions, utterances, classes)."""
        return predict(self.trained.network, examples or self.test, self.conditions)


@dataclass(frozen=True)
class Check:
    """A check, and what it is about, as in `predictions do not depend on batch mates`."""

    title: str
    run: Callable[[Subject], None]


def check_assumptions(subject: Subject) -> None:
    """The system is as the framework assumes, see `model.checks`."""
    check_system(subject.system)


def check_training(subject: Subject) -> None:
    """Every stage trains for two epochs, and every loss has a title."""
    for stage, definition in subject.system.stages.items():
        names = definition.stage_names(stage, subject.corpus.letters)
        terms = {term for name in names for term in subject.trained.stages[name].history[0].losses} - {"total"}
        if set(definition.losses) != terms:
            raise CheckError(
                f"{definition.name} has the loss terms {', '.join(sorted(terms))}, and titles of "
                f"{', '.join(sorted(definition.losses)) or 'none'}; give each one in losses={{…}} of its definition."
            )
    featured, last = subject.system.featured_loss, list(subject.system.stages.values())[-1]
    if featured is not None and featured not in last.losses:
        raise CheckError(f"featured_loss is {featured}, which is not a loss term of the last stage; name one of them.")


def check_predictions(subject: Subject) -> None:
    """Predictions are probabilities of every class, in every condition."""
    probabilities = subject.predict()
    expected = len(subject.conditions), len(subject.test), len(subject.corpus.classes)
    if tuple(probabilities.shape) != expected:
        raise CheckError(
            f"Predictions have the shape {tuple(probabilities.shape)}; logits must be (conditions, batch, classes), so "
            f"that these are {expected}."
        )
    if not torch.isfinite(probabilities).all():
        raise CheckError(f"Predictions are NaN or infinite; {_NOT_FINITE}.")


def check_repeated_prediction(subject: Subject) -> None:
    """Predicting changes nothing, and gives the same again."""
    network = subject.trained.network
    before, first = _state(network), subject.predict()
    for name, value in _state(network).items():
        if not torch.equal(before[name], value):
            raise CheckError(
                f"Predicting changes {_shown(network, name)}, so that a prediction depends on those before it; "
                "change buffers in training alone: if self.training."
            )
    _logits(subject, subject.test.batch(torch.tensor([0])))  # which must leave nothing behind
    if not torch.equal(first, subject.predict()):
        raise CheckError(
            "Predicting twice gives different probabilities; leave dropout out in evaluation (nn.Dropout, or "
            "functional.dropout(x, training=self.training)), and keep nothing of a call in the network for the next."
        )


def check_loading(subject: Subject) -> None:
    """Saved and loaded, it predicts the same bits."""
    saved = {name: safetensors.numpy.save(dict(stage.weights)) for name, stage in subject.trained.stages.items()}
    weights = {name: safetensors.numpy.load(content) for name, content in saved.items()}
    network = network_of(subject.system, subject.corpus, weights, epochs=2)
    if not torch.equal(predict(network, subject.test, subject.conditions), subject.predict()):
        raise CheckError(
            "Loaded from its saved weights it predicts something else: a part of it is not saved; hold layers in "
            "attributes or in nn.ModuleList rather than in a list, parameters as nn.Parameter, and other tensors by "
            "register_buffer."
        )


def check_missing_inputs(subject: Subject) -> None:
    """What is missing has no influence, and what is available has."""
    before, corpus = subject.predict(), subject.corpus
    unread = set(corpus.letters)
    for letter in corpus.letters:
        other = with_other_inputs(corpus, letter, corpus.folds[1].test.tolist())
        after = subject.predict(Examples(other, 1, "test", unit=subject.unit))
        for index, condition in enumerate(subject.conditions):
            same = torch.equal(before[index], after[index])
            if not same and letter not in condition:
                raise CheckError(
                    f"Under condition {condition} the prediction depends on {letter}, which is missing; multiply what "
                    f"is made of {letter} by available[:, {corpus.letters.index(letter)}], or mask it in attention."
                )
            if not same:
                unread.discard(letter)
    if unread:
        raise CheckError(
            f"No prediction depends on {min(unread)}, under any condition; read features[{min(unread)!r}], or name the "
            "modalities it reads in System(needs=…)."
        )


def check_batch_mates(subject: Subject) -> None:
    """A prediction does not depend on the other utterances of its batch."""
    together = subject.predict()
    for row in (0, len(subject.test) // 2, len(subject.test) - 1):
        alone = _logits(subject, subject.test.batch(torch.tensor([row]))).softmax(-1)
        if not torch.allclose(alone[:, 0], together[:, row], rtol=1e-4, atol=1e-5):
            raise CheckError(
                "A prediction depends on the other utterances of its batch: batch norm in evaluation must use its "
                "running statistics (self.training), and means over time must be divided by lengths, not by the length "
                "of the longest."
            )


def check_padding(subject: Subject) -> None:
    """A prediction does not depend on how far sequences are padded."""
    batch = subject.test.batch(torch.arange(4))
    linear = {modality.letter for modality in subject.corpus.modalities if modality.encoder == "linear"}
    for letter in subject.corpus.letters:
        if letter in linear:
            continue
        padded = {**batch.features, letter: F.pad(batch.features[letter], (0, 0, 0, 5))}
        if not torch.allclose(
            _logits(subject, batch), _logits(subject, replace(batch, features=padded)), rtol=1e-4, atol=1e-5
        ):
            raise CheckError(
                f"A prediction changes if {letter} is padded with more zeros: steps from lengths[{letter!r}] on must "
                "not count; divide sums by lengths, mask maxima and attention, and pack sequences for recurrent layers."
            )


def check_labels(subject: Subject) -> None:
    """A prediction does not depend on labels."""
    batch = subject.test.batch(torch.arange(len(subject.test)))
    other = replace(batch, labels=(batch.labels + 1) % len(subject.corpus.classes))
    if not torch.equal(_logits(subject, batch), _logits(subject, other)):
        raise CheckError("Predictions depend on the labels of the batch; logits must not read batch.labels.")


def check_determinism(subject: Subject) -> None:
    """The same seed gives the same bits, whatever else drew random numbers in the process."""
    with _other_global_states():
        again = train_system(subject.system, subject.corpus, epochs=2)
    if difference := _first_difference(again, subject.trained):
        raise CheckError(
            f"Training twice with the same seed gives another {difference}: something draws from a global random state "
            "(torch, numpy or random), or depends on the time or on the order of a set; draw from the generator that "
            "the objective is called with, see model.draws."
        )


def check_resumption(subject: Subject) -> None:
    """Interrupted after an epoch and resumed, it gives the same bits."""
    resumed = train_system(subject.system, subject.corpus, train=train_interrupted, epochs=2)
    difference = _first_difference(resumed, subject.trained)
    histories = [
        [replace(epoch, seconds=0) for stage in trained.stages.values() for epoch in stage.history]
        for trained in (resumed, subject.trained)
    ]
    if difference or histories[0] != histories[1]:
        raise CheckError(
            f"Interrupted and resumed, training gives another {difference or 'history'}: something that changes in "
            "training is not saved; keep it in buffers of the network (register_buffer), not in attributes."
        )


def check_clipping(subject: Subject) -> None:
    """Every parameter of a network is in one clipping group."""
    for definition in subject.system.stages.values():
        for condition in definition.networks(subject.corpus.letters):
            network = definition.network(Shape.of(subject.corpus, condition), hyperparameters_for(definition))
            clipped = [id(parameter) for group in network.clipping_groups() for parameter in group]
            if sorted(clipped) != sorted(map(id, network.parameters())):
                raise CheckError(
                    f"clipping_groups of {type(network).__name__} must hold every parameter once; leave the method "
                    "out, or add what it forgets."
                )


def check_device_memory(subject: Subject) -> None:
    """No step looks at a value in the memory of a device, for which one would wait for a GPU.

    On the device "meta" tensors have shapes only, and looking at one is an error. What seeds its draws is left out.
    """
    for stage, definition in subject.system.stages.items():
        start = Start(1, 0, _upstream(subject, stage))
        for condition in definition.networks(subject.corpus.letters):
            run = TrainingRun(definition, hyperparameters_for(definition), subject.corpus, start, condition, "cpu")
            if run.network.seeds_draws:
                continue
            batch = run.training.batch(torch.arange(8))
            features, lengths = (
                {m: x.to("meta") for m, x in parts.items()} for parts in (batch.features, batch.lengths)
            )
            of_shapes = Batch(features, lengths, batch.labels.to("meta"), batch.rows.to("meta"))
            if batch.dialogues is not None:
                of_shapes = replace(of_shapes, dialogues=batch.dialogues)
            try:
                run.objective.to("meta")(of_shapes, run.draws).total.backward()
                run.network.logits(of_shapes, run.network.selection)
            except (NotImplementedError, RuntimeError) as error:
                raise CheckError(
                    f"{definition.name} looks at a value of a tensor ({str(error).splitlines()[0]}), for which every "
                    "step would wait for a GPU; replace if, float(…), .item() and nonzero by masks, and put new "
                    "tensors on the device of the batch."
                ) from None


def check_stacking(subject: Subject) -> None:
    """Runs of stackable stages come out of training as one as each does alone, in float64."""
    if not any(definition.stackable for definition in subject.system.stages.values()):
        return
    corpus = with_uneven_sets(make_corpus(utterances=80, modalities=subject.corpus.modalities), np.float64)
    earlier: list[dict[str, Trained]] = [{} for _ in RUNS]
    needed = {name for definition in subject.system.stages.values() for name in definition.after}
    with _double():
        for stage, definition in subject.system.stages.items():
            hyperparameters = hyperparameters_for(definition, epochs=2)
            starts = [
                Start(*run, upstream_of(subject.system, definition, trained, corpus.letters))
                for run, trained in zip(RUNS, earlier, strict=True)
            ]
            networks = definition.networks(corpus.letters)
            names = definition.stage_names(stage, corpus.letters)
            few = 1 if stage in needed else max(1, len(networks) // 2)
            for name, condition in list(zip(names, networks, strict=True))[::few]:
                alone = [train(definition, hyperparameters, corpus, start, condition=condition) for start in starts]
                for trained, run in zip(earlier, alone, strict=True):
                    trained[name] = run
                if definition.stackable:
                    together = train_stacked(definition, hyperparameters, corpus, starts, condition=condition)
                    _compare(definition.name, together, alone)


def check_corpora(subject: Subject) -> None:
    """It trains and predicts where utterances lack modalities, and on a corpus of as few as it says."""
    letters = {modality.letter for modality in subject.corpus.modalities}
    corpora = {"whose utterances lack modalities": with_gaps(subject.corpus)}
    few = subject.system.fewest_modalities
    if not subject.system.needs and few < len(letters):
        corpora[f"of {few} {'modality' if few == 1 else 'modalities'}"] = make_corpus(
            utterances=96, modalities=subject.corpus.modalities[:few]
        )
    for which, corpus in corpora.items():
        try:
            trained = train_system(subject.system, corpus, epochs=1)
            other = Subject(subject.system, corpus)
            probabilities = predict(trained.network, other.test, other.conditions)
        except UserError:
            raise
        except Exception as error:
            raise CheckError(
                f"On a corpus {which} it fails ({type(error).__name__}: {str(error).splitlines()[0]}); take letters "
                "and dimensions from what the constructor gets, or set fewest_modalities of its System."
            ) from error
        if not torch.isfinite(probabilities[other.test.evaluated(other.conditions)]).all():
            raise CheckError(f"On a corpus {which} predictions are NaN or infinite; {_NOT_FINITE}.")


def check_learning(subject: Subject) -> None:
    """It learns what every modality shows."""
    trained = train_system(subject.system, subject.corpus, epochs=30)
    test = subject.test
    probabilities = predict(trained.network, test, subject.conditions)
    correct = (probabilities.argmax(-1) == test.labels).float().mean(1)
    complete = trained.network.selection == (subject.conditions[-1],)
    if correct[-1] <= LEARNT or (not complete and correct.mean() <= LEARNT_ON_AVERAGE):
        raise CheckError(
            f"After 30 epochs on a corpus that every modality tells it is right for {100 * correct[-1]:.0f} % of "
            f"utterances with all modalities, and {100 * correct.mean():.0f} % over all conditions (chance is "
            f"{100 / len(subject.corpus.classes):.0f} %); look at its loss, at what is detached or frozen, and at the "
            "default of learning_rate."
        )
    for name, stage in trained.stages.items():
        first, *later = [epoch.losses["cls"] for epoch in stage.history if "cls" in epoch.losses] or [1.0, 0.0]
        if min(later) >= first:
            raise CheckError(f"The loss cls of stage {name} does not fall within 30 epochs; look at its gradients.")


CHECKS = (
    Check("it is as the framework assumes", check_assumptions),
    Check("every stage trains, and its losses have titles", check_training),
    Check("predictions are probabilities of every class in every condition", check_predictions),
    Check("predicting changes nothing and gives the same again", check_repeated_prediction),
    Check("saved and loaded it predicts the same bits", check_loading),
    Check("a missing modality has no influence, an available one has", check_missing_inputs),
    Check("a prediction does not depend on padding", check_padding),
    Check("a prediction does not depend on batch mates", check_batch_mates),
    Check("a prediction does not depend on labels", check_labels),
    Check("the same seed gives the same bits", check_determinism),
    Check("interrupted training resumes to the same bits", check_resumption),
    Check("every parameter is clipped once", check_clipping),
    Check("no step waits for a value on a GPU", check_device_memory),
    Check("runs trained as one come out as each alone", check_stacking),
    Check("corpora with gaps and of few modalities", check_corpora),
    Check("it learns what every modality shows", check_learning),
)
"""All checks, in an order in which the cause of a failure comes before what follows from it."""


@dataclass(frozen=True)
class Finding:
    """What a check of a system found; `problem` is a sentence, or None if it passed."""

    title: str
    problem: str | None


def findings_of(subject: Subject) -> Iterator[Finding]:
    """Run all checks, one after the other; where a system does not train, those that follow are left out."""
    for check in CHECKS:
        problem = _problem(check, subject)
        yield Finding(check.title, problem)
        if problem and check.run in (check_assumptions, check_training):
            return


def _problem(check: Check, subject: Subject) -> str | None:
    try:
        check.run(subject)
    except UserError as error:
        return str(error)
    except DivergedError as error:
        return f"{str(error).partition(': ')[0]}; {_NOT_FINITE}, and try a smaller learning_rate."
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        where = traceback.extract_tb(error.__traceback__)[-1]
        for frame in traceback.extract_tb(error.__traceback__):
            where = frame if not Path(frame.filename).is_absolute() else where
        return (
            f"It raises {type(error).__name__} at line {where.lineno} of {where.filename}: {lines[0].rstrip('.')}; "
            "correct it."
        )
    return None


def _logits(subject: Subject, batch: Batch) -> Tensor:
    with torch.no_grad():
        return subject.trained.network.logits(batch, subject.conditions)


def _state(network: Network) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _upstream(subject: Subject, stage: str) -> dict[str, Weights]:
    definition = subject.system.stages[stage]
    return upstream_of(subject.system, definition, subject.trained.stages, subject.corpus.letters)


def _shown(network: Network, name: str) -> str:
    """The name of a parameter or buffer as its author knows it."""
    return name.removeprefix("module.") if network.seeds_draws else name


def _first_difference(first: TrainedSystem, second: TrainedSystem) -> str:
    """The first parameter or buffer of a stage that is not the same in both; empty if all are."""
    for stage, trained in first.stages.items():
        other = second.stages[stage].weights
        for name, value in trained.weights.items():
            if not np.array_equal(other[name], value):
                return f"{_shown(first.network, name)} in stage {stage}"
    return ""


def _compare(name: str, together: Sequence[object], alone: Sequence[Trained]) -> None:
    for one, other in zip(together, alone, strict=True):
        if isinstance(one, Trained) and _is_close(one, other):
            continue
        raise CheckError(
            f"Runs of {name} that are trained as one do not come out as each does alone: draws and normalisation must "
            "not depend on padding (dropout_over_time), and buffers must belong to a run; fix it, or leave out "
            "stackable=True."
        )


def _is_close(one: Trained, other: Trained) -> bool:
    for epoch, expected in zip(one.history, other.history, strict=True):
        if replace(epoch, losses={}, seconds=0) != replace(expected, losses={}, seconds=0):
            return False
        if any(not isclose(epoch.losses[term], value, rel_tol=1e-7) for term, value in expected.losses.items()):
            return False
    # Adam divides by the size of a gradient, and so magnifies the rounding of a small one.
    return all(np.abs(value - other.weights[name]).max(initial=0) < 1e-6 for name, value in one.weights.items())


@contextmanager
def _double() -> Iterator[None]:
    """New tensors are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _other_global_states() -> Iterator[None]:
    """The global random states of PyTorch, Python and NumPy are others inside the context."""
    python, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002  (the state that must not matter)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        random.seed(99)
        np.random.seed(99)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpys)  # noqa: NPY002
