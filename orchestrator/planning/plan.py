"""The plan: which stages an experiment consists of, and what each depends on. Pure functions, no Ray.

This module needs neither Ray nor pydantic at run time, so that one stage of a plan can run on a bare machine.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ifmmin.data.conditions import Condition
from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError, nearest
from ifmmin.model.definition import System
from ifmmin.model.evaluation import EVALUATION_VERSION
from ifmmin.model.hyperparameters import HyperparameterValue, TrainingHyperparameters, hyperparameters_of
from ifmmin.model.protocols import PROTOCOL_VERSION, PROTOCOLS
from ifmmin.model.systems import SYSTEMS

if TYPE_CHECKING:
    from ifmmin.orchestrator.planning.configuration import Configuration

KEY_FORMAT = 1


class PlanError(UserError):
    """A configuration asks for what the corpus or the systems do not have."""


@dataclass(frozen=True)
class Stage:
    """One step of a run, and everything its result depends on.

    Attributes:
        key: hash of all the other attributes but `name`; the same wherever the same result is asked for.
        name: what the stage is called within its run: pretrain, train, evaluate.
        action: whether the network of the definition is trained or evaluated.
        definition: which network and losses, see `model.systems.DEFINITIONS`.
        version: of the code that the result comes from.
        corpus: fingerprint.
        hyperparameters: those it reads.
        upstream: keys of the stages whose weights it needs, by their names within the run; for an evaluation, every
            network that it evaluates.
        condition: whose network is trained, where the definition has one for each condition.
        protocol: under which an evaluation is made, see `model.protocols.PROTOCOLS`; none for the fixed conditions.
    """

    key: str
    name: str
    action: Literal["train", "evaluate"]
    definition: str
    version: int
    corpus: str
    fold: int
    seed: int
    precision: Literal["float32", "bfloat16"]
    hyperparameters: Mapping[str, HyperparameterValue]
    upstream: Mapping[str, str]
    condition: Condition | None = None
    protocol: str | None = None

    def alike(self, other: "Stage") -> bool:
        """Whether the two differ in fold and seed alone."""
        differing = {"key", "name", "fold", "seed", "upstream"}
        return all(value == getattr(other, name) for name, value in vars(self).items() if name not in differing)

    @classmethod
    def recorded(cls, content: Mapping[str, Any]) -> "Stage":
        """A stage as a store keeps it, in the words of today or of the first stores."""
        read = dict(content)
        for word, first in _FIRST_WORDS.items():
            if first in read:
                read[word] = read.pop(first)
        if isinstance(read["upstream"], list):
            read["upstream"] = {str(number): key for number, key in enumerate(read["upstream"])}
        return cls(**read)

    @property
    def epochs(self) -> int:
        """Epochs that the stage trains; 0 for an evaluation."""
        return int(self.hyperparameters["epochs"]) if self.action == "train" else 0


@dataclass(frozen=True)
class Run:
    """One system on one fold with one seed; `stages` are keys by stage name, in order."""

    system: str
    fold: int
    seed: int
    stages: Mapping[str, str]

    @property
    def evaluation(self) -> str:
        """Key of the stage that holds the run's test predictions."""
        return self.stages["evaluate"]


@dataclass(frozen=True)
class Plan:
    """All runs of an experiment, and their stages by key; a stage stands after those it depends on, and once.

    Attributes:
        hyperparameters: of each system, by name: `lambda2` where one stage has it, `train.epochs` where several do.
    """

    runs: tuple[Run, ...]
    stages: Mapping[str, Stage]
    hyperparameters: Mapping[str, Mapping[str, HyperparameterValue]]

    @property
    def systems(self) -> tuple[str, ...]:
        return tuple(self.hyperparameters)

    @cached_property
    def system_of(self) -> Mapping[str, str]:
        """The system of each stage by key; of those that share one, the first."""
        return {key: run.system for run in reversed(self.runs) for key in run.stages.values()}

    def runs_of(self, system: str) -> list[Run]:
        return [run for run in self.runs if run.system == system]

    def describe(self, key: str) -> str:
        """A stage as people call it."""
        stage = self.stages[key]
        return f"{self.system_of[key]}, fold {stage.fold}, seed {stage.seed}, {stage.name}"


def make_plan(configuration: "Configuration", corpus: Corpus) -> Plan:
    """The plan of an experiment on a corpus.

    Raises:
        PlanError: a system, fold or hyperparameter is unknown, or a value is not possible.
    """
    systems = [_find_system(name) for name in configuration.systems]
    folds = sorted(corpus.folds) if configuration.folds == "all" else list(configuration.folds)
    unknown = [fold for fold in folds if fold not in corpus.folds]
    if unknown:
        raise PlanError(
            f"Corpus '{corpus.name}' has no fold {unknown[0]}; its folds are {_ranges(list(corpus.folds))}."
        )
    resolved = resolve_hyperparameters(systems, configuration.hyperparameters)

    stages: dict[str, Stage] = {}
    runs = []
    for system in systems:
        for seed in configuration.seeds:
            for fold in folds:
                own = list(
                    _stages_of(system, resolved[system.name], corpus, fold, seed, configuration.compute.precision)
                )
                stages.update((stage.key, stage) for stage in own)
                runs.append(Run(system.name, fold, seed, {stage.name: stage.key for stage in own}))
    return Plan(tuple(runs), stages, {system: _named(items) for system, items in resolved.items()})


def resolve_hyperparameters(
    systems: list[System], asked: Mapping[str, HyperparameterValue]
) -> dict[str, dict[str, TrainingHyperparameters]]:
    """Each system's hyperparameters for each of its trained stages.

    A name applies wherever it fits: `epochs` to every stage that has it, `train.epochs` to that stage of every system,
    `if-mmin.train.epochs` to one. Of several that fit, the most particular one counts.

    Raises:
        PlanError: a name fits nowhere, or its value is not possible.
    """
    used: set[str] = set()
    resolved: dict[str, dict[str, TrainingHyperparameters]] = {}
    for system in systems:
        resolved[system.name] = {}
        for stage, definition in system.stages.items():
            values = {}
            for item in hyperparameters_of(definition.hyperparameters):
                for prefix in ("", f"{stage}.", f"{system.name}.", f"{system.name}.{stage}."):
                    if (name := prefix + item.name) in asked:
                        used.add(name)
                        values[item.name] = asked[name]
            try:
                resolved[system.name][stage] = definition.make_hyperparameters(values)
            except UserError as error:
                raise PlanError(f"{system.name}, {stage}: {error}") from None
    for name in asked:
        if name not in used:
            known = {h.name for s in systems for d in s.stages.values() for h in hyperparameters_of(d.hyperparameters)}
            raise PlanError(f"No chosen system has a hyperparameter '{name}'; {nearest(name, sorted(known))}")
    return resolved


def _named(stages: Mapping[str, TrainingHyperparameters]) -> dict[str, HyperparameterValue]:
    owners = Counter(name for hyperparameters in stages.values() for name in asdict(hyperparameters))
    return {
        name if owners[name] == 1 else f"{stage}.{name}": value
        for stage, hyperparameters in stages.items()
        for name, value in asdict(hyperparameters).items()
    }


def _find_system(name: str) -> System:
    if name not in SYSTEMS:
        raise PlanError(f"There is no system '{name}'; {nearest(name, list(SYSTEMS))}")
    return SYSTEMS[name]


def _stages_of(
    system: System,
    hyperparameters: Mapping[str, TrainingHyperparameters],
    corpus: Corpus,
    fold: int,
    seed: int,
    precision: Literal["float32", "bfloat16"],
) -> Iterator[Stage]:
    keys: dict[str, dict[str, str]] = {}

    def stage(
        name: str,
        action: Literal["train", "evaluate"],
        owner: str,
        version: int,
        upstream: Mapping[str, str],
        condition: Condition | None = None,
    ) -> Stage:
        content: dict[str, Any] = {
            "action": action,
            "definition": system.stages[owner].name,
            "version": version,
            "corpus": corpus.fingerprint,
            "fold": fold,
            "seed": seed,
            "precision": precision,
            "hyperparameters": asdict(hyperparameters[owner]),
            "upstream": upstream,
            **({"condition": condition} if condition else {}),
        }
        return _stage(name, content)

    last = ""
    for last, definition in system.stages.items():
        upstream = {name: key for earlier in definition.after for name, key in keys[earlier].items()}
        own = [
            stage(f"{last}-{condition}" if condition else last, "train", last, definition.version, upstream, condition)
            for condition in definition.conditions or (None,)
        ]
        keys[last] = {item.name: item.key for item in own}
        yield from own
    yield stage("evaluate", "evaluate", last, EVALUATION_VERSION, keys[last])


def _stage(name: str, content: Mapping[str, Any]) -> Stage:
    """A stage with its key: a hash whose words are those of the first stores, which stay readable."""
    hashed = {_FIRST_WORDS.get(word, word): value for word, value in content.items()}
    hashed["upstream"] = list(content["upstream"].values())
    text = json.dumps({"format": KEY_FORMAT, **hashed}, sort_keys=True)
    return Stage(key=hashlib.sha256(text.encode()).hexdigest()[:24], name=name, **content)


_FIRST_WORDS = {"definition": "recipe", "hyperparameters": "parameters"}


def protocol_plan(plan: Plan, runs: Iterable[Run], protocols: Sequence[str]) -> Plan:
    """The plan that evaluates complete runs of another under protocols; nothing is trained.

    A run's stages are its evaluations, named as the protocols.

    Raises:
        PlanError: a protocol is unknown.
    """
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown:
        raise PlanError(f"There is no protocol '{unknown[0]}'; {nearest(unknown[0], list(PROTOCOLS))}")
    stages: dict[str, Stage] = {}
    evaluated = []
    for run in runs:
        fixed = plan.stages[run.evaluation]
        same = {name: value for name, value in vars(fixed).items() if name not in ("key", "name") and value is not None}
        own = [_stage(name, {**same, "version": PROTOCOL_VERSION, "protocol": name}) for name in protocols]
        stages.update((stage.key, stage) for stage in own)
        evaluated.append(Run(run.system, run.fold, run.seed, {stage.name: stage.key for stage in own}))
    return Plan(tuple(evaluated), stages, plan.hyperparameters)


def _ranges(numbers: list[int]) -> str:
    numbers = sorted(numbers)
    if numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def stages_to_run(plan: Plan, completed: set[str]) -> list[Stage]:
    """The stages that must be computed, in plan order: what evaluations are missing, and what those still need."""
    needed: set[str] = set()
    for stage in reversed(list(plan.stages.values())):
        if stage.key not in completed and (stage.action == "evaluate" or stage.key in needed):
            needed |= {stage.key, *stage.upstream.values()}
    return [stage for stage in plan.stages.values() if stage.key in needed - completed]
