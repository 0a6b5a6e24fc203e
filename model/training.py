"""The training loop: how one run of a stage is trained. Several runs as one: `model.stacking.training`."""

import time
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus
from ifmmin.model.checks import no_global_draws
from ifmmin.model.definition import (
    Losses,
    Network,
    NetworkOfEachCondition,
    Shape,
    StageDefinition,
    Weights,
)
from ifmmin.model.evaluation import predict
from ifmmin.model.hyperparameters import TrainingHyperparameters
from ifmmin.model.layers import load_weights
from ifmmin.model.run import Precision, Start, Trained, TrainingRun, autocast


def train(
    definition: StageDefinition,
    hyperparameters: TrainingHyperparameters,
    corpus: Corpus,
    start: Start,
    *,
    condition: Condition | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> Trained:
    """Train one run of a stage on its fold's training set, and keep the epoch with the best validation UA.

    Args:
        condition: which network to train, where the definition has one for each condition.

    Raises:
        DivergedError: the loss of an epoch is not finite.
        UserError: the network would silently give wrong results, see `model.checks`.
    """
    run = TrainingRun(definition, hyperparameters, corpus, start, condition, device)
    network, optimizer = run.network, run.optimizer
    while len(run.history) < hyperparameters.epochs:
        started, sums = time.perf_counter(), Sums()
        with no_global_draws(network):
            network.train()
            for group in optimizer.param_groups:
                group["lr"] = run.learning_rate
            for rows in run.shuffled():
                batch = run.training.batch(rows)
                with autocast(device, precision):
                    losses = run.objective(batch, run.draws)
                optimizer.zero_grad()
                losses.total.backward()
                clip_gradients(network, hyperparameters.gradient_clip)
                optimizer.step()
                sums.add(losses, len(rows))
            network.eval()
            with autocast(device, precision):
                probabilities = predict(network, run.validation, network.selection)
        run.end_epoch(sums.values(), probabilities, time.perf_counter() - started)
    return run.trained()


class Sums:
    """The losses of batches so far, summed over their utterances, on the device of the network."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, losses: Losses, utterances: int) -> None:
        """Add the losses of a batch of this many utterances."""
        for name, value in {"total": losses.total, **losses.terms}.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach() * utterances

    def values(self) -> dict[str, float]:
        """The sums by name, as numbers."""
        return {name: float(value) for name, value in self._sums.items()}


def clip_gradients(network: Network, norm: float) -> None:
    """Scale the gradient of each clipping group down to this norm."""
    for parameters in network.clipping_groups():
        nn.utils.clip_grad_norm_(parameters, norm, foreach=True)


def trained_network(
    definition: StageDefinition,
    hyperparameters: TrainingHyperparameters,
    shape: Shape,
    weights: Sequence[Weights],
    device: str = "cpu",
) -> Network:
    """The network of a stage definition with weights that were trained before, in evaluation mode.

    Args:
        weights: of the one network, or of each of the definition's conditions in that order.
    """
    networks: dict[Condition, Network] = {}
    for condition, of_condition in zip(definition.networks(shape.letters), weights, strict=True):
        network = definition.network(replace(shape, condition=condition), hyperparameters)
        load_weights(network, of_condition)
        network.to(device)
        if condition is None:
            return network
        networks[condition] = network
    return NetworkOfEachCondition(networks).eval()
