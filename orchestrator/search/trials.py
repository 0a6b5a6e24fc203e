"""The trials of a search: their hyperparameters, progress and costs. Plain values, no Ray or Tune."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError, nearest
from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.orchestrator.planning.configuration import Configuration
from ifmmin.orchestrator.planning.plan import Hyperparameters, Plan, Run, make_plan
from ifmmin.orchestrator.planning.stage import Stage
from ifmmin.orchestrator.store import Store

State = Literal["running", "completed", "stopped", "failed"]


class SearchError(UserError):
    """A search is not possible as configured, or no search has that name."""


@dataclass(frozen=True)
class Trial:
    """One choice of hyperparameters.

    Attributes:
        hyperparameters: those that are searched.
        means: after each visited fold the mean validation UA of all runs so far, from 0 to 1.
        state: `stopped` was ended early because of poor scores.
        reason: of a failure.
    """

    hyperparameters: Hyperparameters
    means: tuple[float, ...] = ()
    state: State = "running"
    reason: str = ""


@dataclass(frozen=True)
class SearchRecord:
    """A search as the store keeps it.

    Attributes:
        identity: of this search among all others, whatever their names are.
    """

    configuration: Configuration
    fingerprint: str
    trials: tuple[Trial, ...] = ()
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)

    def to_json(self) -> dict[str, Any]:
        """The record as values that JSON can hold."""
        return {
            "configuration": self.configuration.model_dump(mode="json", exclude={"storage"}),
            "identity": self.identity,
            "fingerprint": self.fingerprint,
            "trials": [asdict(trial) for trial in self.trials],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], storage: str) -> "SearchRecord":
        """The record from the output of `to_json`."""
        configuration = Configuration.model_validate({**content["configuration"], "storage": storage})
        trials = tuple(_read_trial(trial) for trial in content["trials"])
        return cls(configuration, content["fingerprint"], trials, content.get("identity") or _first_identity(content))

    @property
    def best(self) -> Trial | None:
        """The best of the trials that visited all folds."""
        completed = [trial for trial in self.trials if trial.state == "completed"]
        return max(completed, key=lambda trial: trial.means[-1], default=None)

    def with_trial(self, number: int, trial: Trial) -> "SearchRecord":
        """The record with one trial changed or, if its number is the next one, added."""
        return replace(self, trials=(*self.trials[:number], trial, *self.trials[number + 1 :]))


def _first_identity(content: Mapping[str, Any]) -> str:
    """The identity of a search that began before records had one."""
    about = json.dumps([content["fingerprint"], content["configuration"]], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()[:32]


def _read_trial(content: Mapping[str, Any]) -> Trial:
    hyperparameters = content.get("hyperparameters") or content["settings"]  # the key in the first stores
    return Trial(hyperparameters, tuple(content["means"]), content["state"], content["reason"])


class TrialPlans:
    """The plans of trials, each made once."""

    def __init__(self, configuration: Configuration, corpus: Corpus) -> None:
        self._configuration, self._corpus = configuration, corpus
        self._plans: dict[tuple[tuple[str, HyperparameterValue], ...], Plan] = {}

    def of(self, hyperparameters: Hyperparameters) -> Plan:
        """The plan of a trial with these hyperparameters."""
        key = tuple(sorted(hyperparameters.items()))
        if key not in self._plans:
            self._plans[key] = make_plan(with_hyperparameters(self._configuration, hyperparameters), self._corpus)
        return self._plans[key]

    def visited(self, trial: Trial, first: int = 0) -> Iterator[Stage]:
        """Every stage of every fold that a trial visited, except the first `first` folds."""
        plan = self.of(trial.hyperparameters)
        for fold in fold_order(plan)[first : len(trial.means)]:
            for run in runs_of_fold(plan, fold):
                yield from trained_stages(plan, run)


@dataclass(frozen=True)
class Costs:
    """The stages that a search computed, and those it saved.

    Attributes:
        run: different stages that trials needed, by name (`pretrain`, `train`).
        shared: how often a trial needed a stage that another had needed before.
        stopped: stages of the folds that stopped trials did not visit.
    """

    run: Mapping[str, int]
    shared: int
    stopped: int

    @property
    def alone(self) -> int:
        """Stages that independent trials, each run to its end, would have computed."""
        return sum(self.run.values()) + self.shared + self.stopped


class CostCounter:
    """Counts the costs of trials as they proceed; each call looks only at what is new of a trial."""

    def __init__(self, plans: TrialPlans) -> None:
        self._plans = plans
        self._keys: dict[str, set[str]] = {}
        self._requested = 0
        self._visited: dict[int, int] = {}
        self._stopped: dict[int, int] = {}

    def add(self, number: int, trial: Trial) -> None:
        """Count what is new of a trial."""
        for stage in self._plans.visited(trial, self._visited.get(number, 0)):
            self._requested += 1
            self._keys.setdefault(stage.name, set()).add(stage.key)
        self._visited[number] = max(self._visited.get(number, 0), len(trial.means))
        if trial.state == "stopped" and number not in self._stopped:
            plan = self._plans.of(trial.hyperparameters)
            left = fold_order(plan)[len(trial.means) :]
            runs = [run for fold in left for run in runs_of_fold(plan, fold)]
            self._stopped[number] = sum(len(trained_stages(plan, run)) for run in runs)

    @property
    def costs(self) -> Costs:
        """The costs so far."""
        counts = {name: len(keys) for name, keys in self._keys.items()}
        return Costs(counts, self._requested - sum(counts.values()), sum(self._stopped.values()))


def count_costs(record: SearchRecord, plans: TrialPlans) -> Costs:
    """What all trials of a search cost and saved, in stages."""
    counter = CostCounter(plans)
    for number, trial in enumerate(record.trials):
        counter.add(number, trial)
    return counter.costs


def computing_seconds(record: SearchRecord, plans: TrialPlans, store: Store) -> tuple[float, float]:
    """Seconds of the stages that were run, and an estimate, by the mean of each kind, for independent trials."""
    stages = {stage.key: stage for trial in record.trials for stage in plans.visited(trial)}
    seconds = {key: store.read_record(key)["seconds"] for key in stages}
    runs_of_a_trial = len(plans.of({}).runs)
    alone = 0.0
    for name in {stage.name for stage in stages.values()}:
        of_kind = [seconds[key] for key, stage in stages.items() if stage.name == name]
        alone += sum(of_kind) / len(of_kind) * runs_of_a_trial * len(record.trials)
    return sum(seconds.values()), alone


def with_hyperparameters(configuration: Configuration, hyperparameters: Hyperparameters) -> Configuration:
    """The configuration with these hyperparameters."""
    return configuration.model_copy(update={"hyperparameters": {**configuration.hyperparameters, **hyperparameters}})


def fold_order(plan: Plan) -> list[int]:
    """The folds in the order in which every trial visits them, so that means after n folds are over the same folds."""
    return list(dict.fromkeys(run.fold for run in plan.runs))


def runs_of_fold(plan: Plan, fold: int) -> list[Run]:
    """One for each seed."""
    return [run for run in plan.runs if run.fold == fold]


def trained_stages(plan: Plan, run: Run) -> list[Stage]:
    """The stages that validation needs; the one that reads the test set is not among them."""
    stages = [plan.stages[key] for key in run.stages.values()]
    return [stage for stage in stages if stage.action == "train"]


def take_best(configuration: Configuration, name: str) -> Configuration:
    """A configuration for the system of a search, with its best hyperparameters, and named after both.

    Raises:
        SearchError: there is no such search, or none of its trials visited all folds.
    """
    store = Store(configuration.storage)
    content = store.read_search(name)
    if content is None:
        known = store.searches()
        hint = nearest(name, known) if known else "make one with ifmmin search."
        raise SearchError(f"Storage {store.location} holds no search '{name}'; {hint}")
    record = SearchRecord.from_json(content, configuration.storage)
    if record.best is None:
        raise SearchError(f"No trial of search '{name}' has visited all folds yet; continue it with --resume.")
    best = {**record.configuration.hyperparameters, **record.best.hyperparameters}
    searched = record.configuration
    changes = {"systems": searched.systems, "programs": searched.programs, "best_of": name}
    changes["name"] = f"{configuration.name}-best-of-{name}"
    return with_hyperparameters(configuration, best).model_copy(update=changes)
