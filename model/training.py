"""The training loop: one for every stage of every system, for one run or several at once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus
from ifmmin.model.checkpoint import Checkpoints, Epoch
from ifmmin.model.definition import Network, NetworkOfEachCondition, Shape, StageDefinition, Upstream, Weights
from ifmmin.model.evaluation import predict
from ifmmin.model.hyperparameters import TrainingHyperparameters
from ifmmin.model.layers import load_weights
from ifmmin.model.run import DivergedError, Engine, Precision, Start, Trained, TrainingRun, autocast
from ifmmin.model.stacking.stack import Stack


def train(
    definition: StageDefinition,
    hyperparameters: TrainingHyperparameters,
    corpus: Corpus,
    *,
    fold: int,
    seed: int,
    upstream: Upstream | None = None,
    condition: Condition | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train one run of a stage, see `train_together` and `Start`.

    Raises:
        DivergedError: the loss of an epoch is not finite.
    """
    start = Start(fold, seed, upstream or {}, on_epoch, checkpoints)
    (result,) = train_together(
        definition, hyperparameters, corpus, [start], condition=condition, device=device, precision=precision
    )
    if isinstance(result, DivergedError):
        raise result
    return result


def train_together(
    definition: StageDefinition,
    hyperparameters: TrainingHyperparameters,
    corpus: Corpus,
    starts: Sequence[Start],
    *,
    condition: Condition | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> list[Trained | DivergedError]:
    """Train a stage's runs on their folds' training sets, and keep of each the epoch with the best validation UA.

    Several runs are computed as one (see `model.stacking.stack`). Each has batches, draws, selection and a result of its own,
    and comes to what it would come to alone, up to rounding.

    Args:
        condition: which network to train, where the definition has one for each condition.
    """
    runs = [TrainingRun(definition, hyperparameters, corpus, start, condition, device) for start in starts]
    engine: Engine = Stack(runs, precision) if len(runs) > 1 else Single(runs[0], precision)
    for epoch in range(min(len(run.history) for run in runs), hyperparameters.epochs):
        going = [index for index, run in enumerate(runs) if len(run.history) == epoch and not run.error]
        if not going:
            continue
        started = time.perf_counter()
        for index in going:
            runs[index].begin_epoch()
        losses = _train_epoch(runs, going, engine)
        probabilities = engine.validate(going)
        seconds = (time.perf_counter() - started) / len(going)
        for index, own in zip(going, probabilities, strict=True):
            runs[index].end_epoch(losses[index], own, seconds)
    return [run.result() for run in runs]


def _train_epoch(runs: Sequence[TrainingRun], going: Sequence[int], engine: Engine) -> dict[int, dict[str, float]]:
    """One pass of these runs over their training sets; of each its mean losses."""
    batches = {index: runs[index].shuffled() for index in going}
    sums: dict[str, Tensor] = {}
    for step in range(max(map(len, batches.values()))):
        by_size: dict[int, list[int]] = {}
        for index in going:
            if step < len(batches[index]):
                by_size.setdefault(len(batches[index][step]), []).append(index)
        for size, together in by_size.items():
            losses = engine.step(together, [batches[index][step] for index in together])
            places = torch.tensor(together).to(losses["total"].device, non_blocking=True)
            for name, values in losses.items():
                sums.setdefault(name, values.new_zeros(len(runs))).index_add_(0, places, values * size)
    totals = {name: total.tolist() for name, total in sums.items()}
    return {
        index: {name: total[index] / len(runs[index].training) for name, total in totals.items()} for index in going
    }


class Single:
    """One run by itself."""

    def __init__(self, run: TrainingRun, precision: Precision) -> None:
        self._run, self._precision = run, precision

    def step(self, runs: Sequence[int], rows: Sequence[Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        run = self._run
        batch = run.training.batch(rows[0])
        with autocast(run.training.device, self._precision):
            losses = run.objective(batch, run.draws)
        run.optimizer.zero_grad()
        losses.total.backward()
        clip_gradients(run.network, run.hyperparameters.gradient_clip)
        run.optimizer.step()
        return {name: value.detach()[None] for name, value in {"total": losses.total, **losses.terms}.items()}

    def validate(self, runs: Sequence[int]) -> list[Tensor]:  # noqa: ARG002
        with autocast(self._run.validation.device, self._precision):
            return [predict(self._run.network, self._run.validation, self._run.network.selection)]


def clip_gradients(network: Network, norm: float) -> None:
    """Scale each sub-network's gradient down to this norm, separately."""
    for part in network.sub_networks():
        nn.utils.clip_grad_norm_(part.parameters(), norm, foreach=True)


def trained_network(
    definition: StageDefinition,
    hyperparameters: TrainingHyperparameters,
    shape: Shape,
    weights: Sequence[Weights],
    device: str = "cpu",
) -> Network:
    """The network of a stage definition with weights that were trained before.

    Args:
        weights: of the one network, or of each of the definition's conditions in that order.
    """
    networks = []
    for condition, own in zip(definition.conditions or (None,), weights, strict=True):
        network = definition.network(replace(shape, condition=condition), hyperparameters)
        load_weights(network, own)
        networks.append(network.to(device))
    if definition.conditions:
        return NetworkOfEachCondition(dict(zip(definition.conditions, networks, strict=True)))
    return networks[0]
