"""The training loop of several runs as one; each as `model.training.train` trains it, up to rounding."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus
from ifmmin.model.checks import no_global_draws
from ifmmin.model.definition import StageDefinition
from ifmmin.model.hyperparameters import TrainingHyperparameters
from ifmmin.model.run import DivergedError, Precision, Start, Trained, TrainingRun
from ifmmin.model.stacking.stack import Stack


def train_stacked(
    definition: StageDefinition,
    hyperparameters: TrainingHyperparameters,
    corpus: Corpus,
    starts: Sequence[Start],
    *,
    condition: Condition | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> list[Trained | DivergedError]:
    """Train runs of a stackable stage as one. Each keeps its batches, draws, selection and result.

    Args:
        starts: one for each run.
        condition: which network to train, where the definition has one for each condition.

    Raises:
        UserError: the network would silently give wrong results, see `model.checks`.
    """
    assert definition.stackable
    runs = [TrainingRun(definition, hyperparameters, corpus, start, condition, device) for start in starts]
    stack = Stack(runs, precision)
    diverged: dict[int, DivergedError] = {}
    for epoch in range(hyperparameters.epochs):
        going = [index for index, run in enumerate(runs) if len(run.history) == epoch and index not in diverged]
        if not going:
            continue
        started = time.perf_counter()
        with no_global_draws(runs[0].network):
            sums = _train_epoch(runs, going, stack)
            probabilities = stack.validate(going)
        seconds = (time.perf_counter() - started) / len(going)
        for index, predicted in zip(going, probabilities, strict=True):
            try:
                runs[index].end_epoch(sums[index], predicted, seconds)
            except DivergedError as error:
                diverged[index] = error
    return [diverged.get(index) or run.trained() for index, run in enumerate(runs)]


def _train_epoch(runs: Sequence[TrainingRun], going: Sequence[int], stack: Stack) -> dict[int, dict[str, float]]:
    """One pass of these runs over their training sets; the sums of each run's losses over its utterances."""
    batches = {index: runs[index].shuffled() for index in going}
    for index in going:
        for group in runs[index].optimizer.param_groups:
            group["lr"] = runs[index].learning_rate
    sums: dict[str, Tensor] = {}
    for step in range(max(map(len, batches.values()))):
        by_size: dict[int, list[int]] = {}
        for index in going:
            if step < len(batches[index]):
                by_size.setdefault(len(batches[index][step]), []).append(index)
        for size, together in by_size.items():
            losses = stack.step(together, [batches[index][step] for index in together])
            places = torch.tensor(together).to(losses["total"].device, non_blocking=True)
            for name, values in losses.items():
                sums.setdefault(name, values.new_zeros(len(runs))).index_add_(0, places, values * size)
    totals = {name: total.tolist() for name, total in sums.items()}
    return {index: {name: total[index] for name, total in totals.items()} for index in going}
