"""One stage of a plan, computed in this process; without Ray, MLflow and pydantic, so that a bare machine can do it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import all_conditions
from ifmmin.data.corpus import Corpus
from ifmmin.model.definition import Shape, Upstream
from ifmmin.model.evaluation import predict
from ifmmin.model.history import Checkpoints, Epoch
from ifmmin.model.program import Program
from ifmmin.model.protocols import PROTOCOLS, run_protocol
from ifmmin.model.run import DivergedError, Start, Trained, autocast
from ifmmin.model.stacking.training import train_stacked
from ifmmin.model.systems import DEFINITIONS, load_program
from ifmmin.model.training import train, trained_network
from ifmmin.orchestrator.planning.stage import Stage, StageResult


@dataclass(frozen=True)
class Task:
    """A stage that trains, with the weights of its upstream stages by name; see `model.run.Start`."""

    stage: Stage
    upstream: Upstream
    on_epoch: Callable[[Epoch], None] = lambda _: None
    checkpoints: Checkpoints | None = None


def load_programs(programs: Iterable[Program]) -> None:
    """Load systems from outside the package, so that their stages can be computed.

    Raises:
        UserError: one raises an error, as where a package that it imports is not installed.
    """
    for program in programs:
        load_program(program)


def execute(
    stage: Stage,
    corpus: Corpus,
    upstream: Upstream,
    *,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    checkpoints: Checkpoints | None = None,
) -> StageResult:
    """Compute a stage from its corpus and the weights of its upstream stages by name. On a CPU it uses one thread.

    Args:
        on_epoch, checkpoints: of a stage that trains.
    """
    if stage.action == "evaluate":
        return _evaluate(stage, corpus, upstream, device)
    (result,) = execute_together([Task(stage, upstream, on_epoch, checkpoints)], corpus, device=device)
    if isinstance(result, Exception):
        raise result
    return result


def execute_together(tasks: Sequence[Task], corpus: Corpus, *, device: str = "cpu") -> list[StageResult | Exception]:
    """Train stages that differ in fold and seed alone as one; the outcome of each.

    Where a GPU has too little memory for so many they are trained in two halves.
    """
    if device == "cpu":
        torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        trained = _train(tasks, corpus, device)
    except torch.OutOfMemoryError as error:
        if len(tasks) == 1:
            return [error.with_traceback(None)]
        trained = None  # The traceback, which holds on to the memory, ends with this block.
    if trained is None:
        halves = tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :]
        return [result for half in halves for result in execute_together(half, corpus, device=device)]
    seconds = (time.perf_counter() - started) / len(tasks)
    return [run if isinstance(run, DivergedError) else _result(run, seconds) for run in trained]


def _train(tasks: Sequence[Task], corpus: Corpus, device: str) -> list[Trained | DivergedError]:
    stage, definition = tasks[0].stage, DEFINITIONS[tasks[0].stage.definition]
    hyperparameters = definition.make_hyperparameters(stage.hyperparameters)
    chosen: dict[str, Any] = {"condition": stage.condition, "device": device, "precision": stage.precision}
    starts = [_start(task) for task in tasks]
    if len(starts) > 1 and definition.stackable:
        return train_stacked(definition, hyperparameters, corpus, starts, **chosen)
    results: list[Trained | DivergedError] = []
    for start in starts:
        try:
            results.append(train(definition, hyperparameters, corpus, start, **chosen))
        except DivergedError as error:
            results.append(error)
    return results


def _start(task: Task) -> Start:
    stage = task.stage
    return Start(stage.fold, stage.seed, task.upstream, task.on_epoch, task.checkpoints, stage.train_missing or {})


def _result(trained: Trained, seconds: float) -> StageResult:
    rows = [
        {
            "epoch": epoch.epoch,
            "learning_rate": epoch.learning_rate,
            **{f"loss/{name}": value for name, value in epoch.losses.items()},
            "validation/wa": epoch.validation_wa,
            "validation/ua": epoch.validation_ua,
            "seconds": epoch.seconds,
        }
        for epoch in trained.history
    ]
    seconds = max(seconds, sum(epoch.seconds for epoch in trained.history))
    return StageResult(trained.weights, {"history": pa.Table.from_pylist(rows)}, seconds)


def _evaluate(stage: Stage, corpus: Corpus, upstream: Upstream, device: str) -> StageResult:
    if device == "cpu":
        torch.set_num_threads(1)
    started = time.perf_counter()
    definition = DEFINITIONS[stage.definition]
    hyperparameters = definition.make_hyperparameters(stage.hyperparameters)
    network = trained_network(definition, hyperparameters, Shape.of(corpus), list(upstream.values()), device)
    test = Examples(corpus, stage.fold, "test", device, definition.unit)
    with autocast(device, stage.precision):
        if stage.protocol:
            columns: dict[str, Sequence[Any]] = {"rate": PROTOCOLS[stage.protocol].rates}
            probabilities = run_protocol(stage.protocol, network, test, seed=stage.seed, fold=stage.fold).numpy()
            evaluated = np.ones(probabilities.shape[:2], dtype=bool)
        else:
            conditions = all_conditions(corpus.letters)
            columns = {"condition": conditions}
            probabilities = predict(network, test, conditions).cpu().numpy()
            evaluated = test.evaluated(conditions).numpy()
    predictions = _predictions(corpus, test, columns, probabilities)
    if not evaluated.all():
        predictions = predictions.filter(pa.array(evaluated.reshape(-1)))
    return StageResult({}, {"predictions": predictions}, time.perf_counter() - started)


def _predictions(
    corpus: Corpus, test: Examples, columns: Mapping[str, Sequence[Any]], probabilities: np.ndarray
) -> pa.Table:
    """One row for each condition (or rate) and utterance; `probabilities` is float32 (conditions, utterances, classes).

    Args:
        columns: the conditions or rates, by the name of their column.
    """
    conditions, utterances, classes = probabilities.shape
    names = [corpus.names[index] for index in test.indices]
    flat = pa.array(probabilities.reshape(-1))
    return pa.table(
        {
            "utterance": names * conditions,
            **{name: np.repeat(values, utterances).tolist() for name, values in columns.items()},
            "label": np.tile(corpus.labels[test.indices], conditions),
            "prediction": probabilities.argmax(-1).reshape(-1),
            "probabilities": pa.FixedSizeListArray.from_arrays(flat, classes),
        }
    )
