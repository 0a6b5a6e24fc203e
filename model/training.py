"""The training loop: one for every stage of every system."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from data.batches import Examples
from data.conditions import Condition
from data.corpus import Corpus
from model.checkpoint import Checkpoints, Epoch, capture, restore
from model.evaluation import predict
from model.layers import initialise, load_weights
from model.metrics import unweighted_accuracy, weighted_accuracy
from model.parameters import TrainingParameters
from model.recipe import Losses, Network, NetworkOfEachCondition, Recipe, Shape, Weights

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Trained:
    """A trained stage: the weights of the epoch with the best validation UA, the first of equals, and all epochs."""

    weights: Weights
    history: tuple[Epoch, ...]


class DivergedError(RuntimeError):
    """A loss is no longer a finite number."""


def stage_generator(
    seed: int, fold: int, stage: str, purpose: str, device: str | torch.device = "cpu"
) -> torch.Generator:
    """The generator of one purpose within one stage: it depends on these words alone."""
    digest = hashlib.sha256(f"{seed}/{fold}/{stage}/{purpose}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def autocast(device: str | torch.device, precision: Precision) -> AbstractContextManager[Any]:
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16")


def train(
    recipe: Recipe,
    parameters: TrainingParameters,
    corpus: Corpus,
    *,
    fold: int,
    seed: int,
    weights: Weights | None = None,
    condition: Condition | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train one stage on a fold's training set, and keep the epoch with the best UA on its validation set.

    Args:
        weights: of the stage this one starts from, where the recipe names one.
        condition: which network to train, where the recipe has one for each condition.
        on_epoch: told of every epoch when it ends.
        checkpoints: where to go on from, if training was broken off, and where to keep how far it is.

    Raises:
        DivergedError: the loss of an epoch is not finite.
    """
    training = Examples(corpus, fold, "train", device)
    validation = Examples(corpus, fold, "validation", device)
    stage = f"{recipe.name}-{condition}" if condition else recipe.name
    order = stage_generator(seed, fold, stage, "order")
    draws = stage_generator(seed, fold, stage, "draws", device)

    network = recipe.network(Shape(corpus.dimensions, len(corpus.classes), condition), parameters)
    initialise(network, stage_generator(seed, fold, stage, "weights"))
    network.to(device)
    objective = recipe.objective(network, parameters, training, weights)
    optimizer = torch.optim.Adam(
        network.parameters(), parameters.learning_rate, (parameters.beta1, parameters.beta2), fused=True
    )

    history: list[Epoch] = []
    best: dict[str, torch.Tensor] = {}
    earlier = checkpoints.load() if checkpoints else None
    if earlier and earlier.device == torch.device(device).type:
        best = restore(earlier, network, optimizer, (order, draws))
        history = list(earlier.history)
    best_ua = max((epoch.validation_ua for epoch in history), default=-1.0)
    for epoch in range(len(history), parameters.epochs):
        started = time.perf_counter()
        learning_rate = parameters.learning_rate * parameters.learning_rate_factor(epoch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate

        sums: dict[str, torch.Tensor] = {}
        for rows in torch.split(torch.randperm(len(training), generator=order).to(device), parameters.batch_size):
            batch = training.batch(rows)
            with autocast(device, precision):
                losses = objective(batch, draws)
            optimizer.zero_grad()
            losses.total.backward()  # type: ignore[no-untyped-call]
            clip_gradients(network, parameters.gradient_clip)
            optimizer.step()
            _accumulate(sums, losses, len(batch))

        means = {name: float(value) / len(training) for name, value in sums.items()}
        if not np.isfinite(means["total"]):
            raise DivergedError(
                f"The loss of epoch {epoch + 1} is {means['total']}: {means}; a smaller learning_rate may help."
            )
        with autocast(device, precision):
            wa, ua = validate(network, validation)
        if ua > best_ua:
            best_ua = ua
            best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        history.append(Epoch(epoch + 1, learning_rate, means, wa, ua, time.perf_counter() - started))
        on_epoch(history[-1])
        if checkpoints and epoch + 1 < parameters.epochs and checkpoints.due():
            checkpoints.save(capture(network, optimizer, (order, draws), best, history))
    return Trained({name: value.cpu().numpy() for name, value in best.items()}, tuple(history))


def clip_gradients(network: Network, norm: float) -> None:
    """Scale each sub-network's gradient down to this norm, separately."""
    for part in network.sub_networks():
        nn.utils.clip_grad_norm_(part.parameters(), norm, foreach=True)


def validate(network: Network, examples: Examples) -> tuple[float, float]:
    """WA and UA over every utterance of a set in all the network's selection conditions, pooled."""
    predictions = predict(network, examples, network.selection).argmax(-1).flatten().cpu().numpy()
    labels = np.tile(examples.labels.cpu().numpy(), len(network.selection))
    return weighted_accuracy(labels, predictions), unweighted_accuracy(labels, predictions)


def trained_network(
    recipe: Recipe, parameters: TrainingParameters, corpus: Corpus, weights: Sequence[Weights], device: str = "cpu"
) -> Network:
    """The network of a recipe with weights that were trained before.

    Args:
        weights: of the one network, or of each of the recipe's conditions in that order.
    """
    networks = []
    for condition, own in zip(recipe.conditions or (None,), weights, strict=True):
        network = recipe.network(Shape(corpus.dimensions, len(corpus.classes), condition), parameters)
        load_weights(network, own)
        networks.append(network.to(device))
    if recipe.conditions:
        return NetworkOfEachCondition(dict(zip(recipe.conditions, networks, strict=True)))
    return networks[0]


def _accumulate(sums: dict[str, torch.Tensor], losses: Losses, count: int) -> None:
    for name, value in {"total": losses.total, **losses.terms}.items():
        sums[name] = sums.get(name, 0) + value.detach() * count
