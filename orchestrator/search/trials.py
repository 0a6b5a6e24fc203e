"""The trials of a search: what was tried, how far it came, and what that saved. Plain values, no Ray, no Tune."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError, nearest
from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.model.systems import SYSTEMS
from ifmmin.orchestrator.planning.configuration import Configuration, Range, Search
from ifmmin.orchestrator.planning.plan import Plan, PlanError, Run, Stage, make_plan
from ifmmin.orchestrator.store import Store

Settings = Mapping[str, int | float]
State = Literal["running", "completed", "stopped", "failed"]


class SearchError(UserError):
    """A search cannot be made as it was asked for, or there is none of that name."""


@dataclass(frozen=True)
class Trial:
    """One choice of hyperparameters.

    Attributes:
        settings: the searched hyperparameters.
        means: after each visited fold the mean validation UA of all runs so far, from 0 to 1.
        state: `stopped` was ended early because it was poor.
        reason: of a failure.
    """

    settings: Settings
    means: tuple[float, ...] = ()
    state: State = "running"
    reason: str = ""


@dataclass(frozen=True)
class SearchRecord:
    """A search as the store keeps it."""

    configuration: Configuration
    fingerprint: str
    trials: tuple[Trial, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "configuration": self.configuration.model_dump(mode="json", exclude={"storage"}),
            "fingerprint": self.fingerprint,
            "trials": [asdict(trial) for trial in self.trials],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], storage: str) -> "SearchRecord":
        trials = tuple(Trial(**{**trial, "means": tuple(trial["means"])}) for trial in content["trials"])
        configuration = Configuration.model_validate({**content["configuration"], "storage": storage})
        return cls(configuration, content["fingerprint"], trials)

    @property
    def best(self) -> Trial | None:
        """The best of the trials that visited all folds."""
        completed = [trial for trial in self.trials if trial.state == "completed"]
        return max(completed, key=lambda trial: trial.means[-1], default=None)


@dataclass(frozen=True)
class Costs:
    """What a search computed, and what it did not have to.

    Attributes:
        run: different stages that trials asked for, by name (`pretrain`, `train`).
        shared: how often a trial asked for a stage that another had asked for.
        stopped: stages of the folds that stopped trials did not visit.
    """

    run: Mapping[str, int]
    shared: int
    stopped: int

    @property
    def alone(self) -> int:
        """Stages that every trial by itself, to its end, would have run."""
        return sum(self.run.values()) + self.shared + self.stopped


def search_of(configuration: Configuration) -> Search:
    """What to search for; lambda2 and the moment order unless the configuration says otherwise."""
    return configuration.search or Search()


def check_space(configuration: Configuration, corpus: Corpus) -> dict[str, tuple[Range, type]]:
    """The ranges of a search with the type of each hyperparameter: int or float.

    Raises:
        SearchError: there is more than one system, or a range is of no hyperparameter of it, or not possible for it.
    """
    if len(configuration.systems) != 1:
        raise SearchError(f"A search is for one system; name one of {', '.join(configuration.systems)} with --systems.")
    make_plan(configuration, corpus)
    (system,) = configuration.systems
    types = {
        item.name: item.type
        for definition in SYSTEMS[system].stages.values()
        for item in fields(definition.hyperparameters)
    }
    space: dict[str, tuple[Range, type]] = {}
    for name, bounds in search_of(configuration).space.items():
        kind = types.get(name.rpartition(".")[2])
        if kind is None:
            raise SearchError(f"search.space: {system} has no hyperparameter '{name}'; {nearest(name, sorted(types))}")
        if kind is int and not (bounds.low == int(bounds.low) and bounds.high == int(bounds.high)):
            raise SearchError(f"search.space.{name}: low and high must be whole numbers.")
        for value in (bounds.low, bounds.high):
            try:
                make_plan(with_settings(configuration, {name: value}), corpus)
            except PlanError as error:
                raise SearchError(f"search.space.{name}: {error}") from None
        space[name] = (bounds, int if kind is int else float)
    return space


def first_settings(configuration: Configuration, corpus: Corpus) -> Settings | None:
    """What the first trial tries: the configuration's values, else the system's own, which are the paper's.

    None where they lie outside the ranges.
    """
    (parameters,) = make_plan(configuration, corpus).hyperparameters.values()
    settings: dict[str, int | float] = {}
    for name, bounds in search_of(configuration).space.items():
        own = name.rpartition(".")[2]
        value = parameters.get(name, next(v for key, v in parameters.items() if key.rpartition(".")[2] == own))
        if isinstance(value, str) or not bounds.low <= value <= bounds.high:
            return None
        settings[name] = value
    return settings


def with_settings(configuration: Configuration, settings: Mapping[str, HyperparameterValue]) -> Configuration:
    """The configuration with these hyperparameters."""
    return configuration.model_copy(update={"hyperparameters": {**configuration.hyperparameters, **settings}})


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


def count_costs(record: SearchRecord, corpus: Corpus) -> Costs:
    """What the trials of a search cost and saved, in stages."""
    run: dict[str, set[str]] = {}
    asked = stopped = 0
    for trial in record.trials:
        plan = make_plan(with_settings(record.configuration, trial.settings), corpus)
        for index, fold in enumerate(fold_order(plan)):
            stages = [stage for own in runs_of_fold(plan, fold) for stage in trained_stages(plan, own)]
            if index < len(trial.means):
                asked += len(stages)
                for stage in stages:
                    run.setdefault(stage.name, set()).add(stage.key)
            elif trial.state == "stopped":
                stopped += len(stages)
    counts = {name: len(keys) for name, keys in run.items()}
    return Costs(counts, asked - sum(counts.values()), stopped)


def visited_stages(record: SearchRecord, corpus: Corpus) -> Iterator[Stage]:
    """Every stage of every fold that a trial visited, once for each trial."""
    for trial in record.trials:
        plan = make_plan(with_settings(record.configuration, trial.settings), corpus)
        for fold in fold_order(plan)[: len(trial.means)]:
            for own in runs_of_fold(plan, fold):
                yield from trained_stages(plan, own)


def take_best(configuration: Configuration, name: str) -> Configuration:
    """A configuration for the system of a search, with its best settings, and called after both.

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
    settings = {**record.configuration.hyperparameters, **record.best.settings}
    changes = {"name": f"{configuration.name}-best-of-{name}", "systems": record.configuration.systems, "best_of": name}
    return with_settings(configuration, settings).model_copy(update=changes)


def with_trial(record: SearchRecord, number: int, **changes: Any) -> SearchRecord:
    """The record with one trial changed."""
    trials = list(record.trials)
    trials[number] = replace(trials[number], **changes)
    return replace(record, trials=tuple(trials))
