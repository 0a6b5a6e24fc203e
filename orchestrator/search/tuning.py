"""The adapter to Ray Tune and Optuna; the only module that knows them.

A trial is a function that asks an objective for one fold after the other and reports the running mean. It holds no CPU:
the stages it needs run elsewhere.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from ifmmin.orchestrator.planning.configuration import Range, Search
from ifmmin.orchestrator.planning.plan import Hyperparameters
from ifmmin.orchestrator.search.space import Dimension, size_of
from ifmmin.orchestrator.search.trials import State, Trial

METRIC = "validation_ua"
ITERATION = "training_iteration"


OnChange = Callable[[int, Trial], None]
"""Called with the number of a trial, from 0, and what it is now."""


@dataclass(frozen=True)
class Task:
    """What is searched.

    Attributes:
        space: the searched hyperparameters by name.
        first: the hyperparameters of the first trial; None leaves them to Optuna.
        folds: in the order in which every trial visits them.
        seed: of Optuna's sampler.
    """

    search: Search
    space: Mapping[str, Dimension]
    first: Hyperparameters | None
    folds: Sequence[int]
    seed: int


def run_trials(task: Task, objective: Any, known: Sequence[Trial], at_once: int, on_change: OnChange) -> None:
    """Run the trials of a search until there are as many as it asks for.

    Args:
        objective: handle of an actor whose `validate(hyperparameters, fold)` returns a score for each run of a fold.
        known: trials of an earlier call. Those that ended are reported as they were, and visit no further fold; the
            others go on; both come first.
        at_once: trials that run at the same time.
    """
    known = [replace(t, state="running", means=(), reason="") if t.state == "failed" else t for t in known]
    points = [dict(trial.hyperparameters) for trial in known]
    if task.first is not None and task.first not in points:
        points.insert(0, dict(task.first))
    seed = (task.seed + len(known)) % 2**32
    searcher = _FoldAwareOptuna(
        len(task.folds),
        size_of(task.space),
        space={name: _distribution(dimension) for name, dimension in task.space.items()},
        metric=METRIC,
        mode="max",
        points_to_evaluate=points or None,
        # A sampler that began anew with the same seed would draw the very hyperparameters that are known already.
        sampler=optuna.samplers.TPESampler(seed=seed),
        seed=seed,
    )
    follower = _Follower(len(task.folds), known, on_change)
    limits = [
        (dict(trial.hyperparameters), len(trial.means)) for trial in known if trial.state in ("completed", "stopped")
    ]
    trainable = tune.with_parameters(_visit_folds, objective=objective, folds=list(task.folds), limits=limits)
    # A CPU would be missing to the stages; of memory one byte is enough for a placement group not to be empty.
    trainable = tune.with_resources(trainable, {"memory": 1})
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                search_alg=searcher,
                scheduler=_scheduler(task.search, len(task.folds)),
                num_samples=max(task.search.trials, len(known)),
                max_concurrent_trials=at_once,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[follower]),
        )
        tuner.fit()
        follower.add_reasons()


def prepare_environment() -> None:
    """What Tune reads from the environment, before Ray starts."""
    os.environ.update(
        TUNE_DISABLE_SIGINT_HANDLER="1",  # Ctrl-C is ours
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S="0",
        RAY_AIR_NEW_OUTPUT="0",
    )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)


def _visit_folds(
    hyperparameters: dict[str, Any], objective: Any, folds: list[int], limits: list[tuple[dict[str, Any], int]]
) -> None:
    limit = next((count for known, count in limits if known == hyperparameters), len(folds))
    scores: list[float] = []
    for fold in folds[:limit]:
        scores += ray.get(objective.validate.remote(hyperparameters, fold))
        tune.report({METRIC: sum(scores) / len(scores)})


class _FoldAwareOptuna(OptunaSearch):
    """Optuna without copies of trials, whose stopped trials count as pruned.

    A mean over few folds is not one over all of them; and where every hyperparameter is a whole number or a choice,
    Optuna suggests the same again and again.
    """

    def __init__(self, folds: int, size: int | None, **options: Any) -> None:
        """Search a space.

        Args:
            size: the number of different trials, None if unlimited.
            options: of Tune's OptunaSearch.
        """
        super().__init__(**options)
        self._folds, self._size = folds, size
        self._first = len(options["points_to_evaluate"] or [])
        self._suggested: list[dict[str, Any]] = []
        self._distributions: Mapping[str, Any] = options["space"]
        self._random = np.random.default_rng(options["seed"])

    def suggest(self, trial_id: str) -> Any:
        if self._size is None or len(self._suggested) < self._first:  # the first points are known trials
            chosen: Any = super().suggest(trial_id)
        elif self._is_exhausted():
            return self.FINISHED
        else:
            chosen = super().suggest(trial_id)
            if chosen in self._suggested:
                study: Any = self._ot_study
                study.tell(self._ot_trials.pop(trial_id), state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(self._another())
                chosen = super().suggest(trial_id)
        self._suggested.append(chosen)
        return chosen

    def _is_exhausted(self) -> bool:
        return len({tuple(point.items()) for point in self._suggested}) >= (self._size or 0)

    def _another(self) -> dict[str, Any]:
        """A point of a finite space that was not suggested before."""
        while True:
            point = {name: self._draw(distribution) for name, distribution in self._distributions.items()}
            if point not in self._suggested:
                return point

    def _draw(self, distribution: Any) -> Any:
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            return distribution.choices[self._random.integers(len(distribution.choices))]
        return int(self._random.integers(distribution.low, distribution.high, endpoint=True))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pruned = result is not None and result[ITERATION] < self._folds
        super().on_trial_complete(trial_id, None if pruned else result, error)


class _Follower(tune.Callback):
    """Turns Tune's events into changes of trials."""

    def __init__(self, folds: int, known: Sequence[Trial], on_change: OnChange) -> None:
        self._folds, self._known, self._on_change = folds, list(known), on_change
        self._trials: list[Trial] = list(known)
        self._numbers: dict[str, int] = {}
        self._failed: list[TuneTrial] = []

    def on_trial_start(self, *, trials: list[TuneTrial], **_: Any) -> None:  # type: ignore[override]
        for trial in trials:  # in the order in which they were suggested, which may not be that of starting
            if trial.trial_id not in self._numbers:
                self._number(trial)

    def on_trial_result(self, *, trial: TuneTrial, result: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
        current = self._trials[self._numbers[trial.trial_id]]
        if METRIC in result and result[ITERATION] > len(current.means):
            self._change(trial, means=(*current.means, float(result[METRIC])))

    def on_trial_complete(self, *, trial: TuneTrial, **_: Any) -> None:  # type: ignore[override]
        visited = len(self._trials[self._numbers[trial.trial_id]].means)
        state: State = "completed" if visited == self._folds else "stopped"
        self._change(trial, state=state)

    def on_trial_error(self, *, trial: TuneTrial, **_: Any) -> None:  # type: ignore[override]
        self._failed.append(trial)
        self._change(trial, state="failed")

    def add_reasons(self) -> None:
        """The reasons of failed trials, which Tune knows only after it reports the failure."""
        for trial in self._failed:
            error = trial.get_error()
            cause = getattr(error, "cause", None) or error
            lines = str(cause).strip().splitlines() or ["no reason given"]
            self._change(trial, reason=lines[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes what it holds to disk, where this has no use

    def _number(self, trial: TuneTrial) -> None:
        taken, chosen = set(self._numbers.values()), dict(trial.config)
        same = [n for n, t in enumerate(self._known) if n not in taken and dict(t.hyperparameters) == chosen]
        self._numbers[trial.trial_id] = same[0] if same else len(self._trials)
        if not same:
            self._trials.append(Trial(chosen))
            self._announce(trial)

    def _change(self, trial: TuneTrial, **changes: Any) -> None:
        number = self._numbers[trial.trial_id]
        self._trials[number] = replace(self._trials[number], **changes)
        self._announce(trial)

    def _announce(self, trial: TuneTrial) -> None:
        number = self._numbers[trial.trial_id]
        self._on_change(number, self._trials[number])


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    domain = dimension.domain
    if not isinstance(domain, Range):
        return optuna.distributions.CategoricalDistribution(domain)
    if dimension.hyperparameter.kind == "int":
        return optuna.distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return optuna.distributions.FloatDistribution(domain.low, domain.high, log=domain.log)


def _scheduler(search: Search, folds: int) -> TrialScheduler:
    if search.scheduler == "none" or folds <= search.grace_folds:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    return AsyncHyperBandScheduler(
        time_attr=ITERATION, max_t=folds, grace_period=search.grace_folds, reduction_factor=search.reduction
    )
