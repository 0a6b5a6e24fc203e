"""The plan: which stages an experiment consists of, and what each depends on. Pure functions, no Ray, no PyTorch.

This module needs no pydantic at run time, so that one stage of a plan can run on a bare machine.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError, nearest
from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.orchestrator.planning.catalogue import SystemDescription, catalogue, systems
from ifmmin.orchestrator.planning.stage import EVERY_MODALITY, Stage

if TYPE_CHECKING:
    from ifmmin.orchestrator.planning.configuration import Configuration

Hyperparameters: TypeAlias = Mapping[str, HyperparameterValue]


class PlanError(UserError):
    """A configuration names something that the corpus or the systems lack."""


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
    """All runs of an experiment, and their stages by key; each stage once, after those it depends on.

    Attributes:
        hyperparameters: of each system, by name: `lambda2` where one stage has it, `train.epochs` where several do.
    """

    runs: tuple[Run, ...]
    stages: Mapping[str, Stage]
    hyperparameters: Mapping[str, Hyperparameters]

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems, in table order."""
        return tuple(self.hyperparameters)

    @cached_property
    def system_of(self) -> Mapping[str, str]:
        """The system of each stage by key; of those that share one, the first."""
        return {key: run.system for run in reversed(self.runs) for key in run.stages.values()}

    def runs_of(self, system: str) -> list[Run]:
        """The runs of a system."""
        return [run for run in self.runs if run.system == system]

    def describe(self, key: str) -> str:
        """A stage in words."""
        stage = self.stages[key]
        return f"{self.system_of[key]}, fold {stage.fold}, seed {stage.seed}, {stage.name}"


def make_plan(configuration: "Configuration", corpus: Corpus) -> Plan:
    """The plan of an experiment on a corpus.

    Raises:
        PlanError: a system, fold or hyperparameter is unknown, a value is not valid, or a system needs more modalities
            than the corpus has.
    """
    chosen = [_find_system(name) for name in configuration.systems]
    for system in chosen:
        _check_modalities(system, corpus)
    folds = sorted(corpus.folds) if configuration.folds == "all" else list(configuration.folds)
    unknown = [fold for fold in folds if fold not in corpus.folds]
    if unknown:
        raise PlanError(
            f"Corpus '{corpus.name}' has no fold {unknown[0]}; its folds are {_ranges(list(corpus.folds))}."
        )
    resolved = resolve_hyperparameters(chosen, configuration.hyperparameters)

    _check_shares(configuration.compute.gpu_shares, chosen)
    train_missing = resolve_train_missing(configuration.train_missing, corpus)
    stages: dict[str, Stage] = {}
    runs = []
    for system in chosen:
        for seed in configuration.seeds:
            for fold in folds:
                same: dict[str, Any] = {"corpus": corpus.fingerprint, "fold": fold, "seed": seed}
                same["precision"] = configuration.compute.precision
                of_run = list(_stages_of(system, resolved[system.name], corpus.letters, same, train_missing))
                stages.update((stage.key, stage) for stage in of_run)
                runs.append(Run(system.name, fold, seed, {stage.name: stage.key for stage in of_run}))
    return Plan(
        tuple(runs), stages, {system: named_hyperparameters(stages_of) for system, stages_of in resolved.items()}
    )


def join_plans(plan: Plan, other: Plan, evaluations: Collection[str]) -> Plan:
    """A plan with those runs of another one whose evaluation is among these; the plan itself if it has them all."""
    known = {run.evaluation for run in plan.runs}
    added = [run for run in other.runs if run.evaluation in evaluations and run.evaluation not in known]
    if not added:
        return plan
    hyperparameters = {**other.hyperparameters, **plan.hyperparameters}
    order = list(plan.systems)
    if new := {run.system for run in added} - set(order):
        order = sorted({*order, *new}, key=list(systems()).index)
    runs = sorted((*plan.runs, *added), key=lambda run: (order.index(run.system), run.seed, run.fold))
    stages = {**other.stages, **plan.stages}
    return Plan(
        tuple(runs),
        {key: stages[key] for run in runs for key in run.stages.values()},
        {system: hyperparameters[system] for system in order},
    )


def resolve_hyperparameters(
    chosen: Sequence[SystemDescription], changes: Hyperparameters
) -> dict[str, dict[str, Hyperparameters]]:
    """Each system's hyperparameters for each of its trained stages.

    A name applies wherever it fits: `epochs` to every stage that has it, `train.epochs` to that stage of every system,
    `if-mmin.train.epochs` to one. Of several that fit, the most specific one wins.

    Raises:
        PlanError: a name fits nowhere, or its value is not valid.
    """
    used: set[str] = set()
    resolved: dict[str, dict[str, Hyperparameters]] = {}
    for system in chosen:
        resolved[system.name] = {}
        for stage, description in system.stages.items():
            values = {}
            for item in description.hyperparameters:
                prefixes = ("", f"{stage}.", f"{system.name}.", f"{system.name}.{stage}.")
                names = [name for prefix in prefixes if (name := prefix + item.name) in changes]
                used.update(names)
                try:
                    values[item.name] = item.accept(changes[names[-1]] if names else item.default)
                except UserError as error:
                    raise PlanError(f"{system.name}, {stage}: {error}") from None
            resolved[system.name][stage] = values
    for name in changes:
        if name not in used:
            known = {
                item.name for system in chosen for stage in system.stages.values() for item in stage.hyperparameters
            }
            raise PlanError(f"No chosen system has a hyperparameter '{name}'; {nearest(name, sorted(known))}")
    return resolved


def named_hyperparameters(stages: Mapping[str, Hyperparameters]) -> Hyperparameters:
    """The hyperparameters of a system by name: `lambda2` where one stage has it, `train.epochs` where several do."""
    owners = Counter(name for values in stages.values() for name in values)
    return {
        name if owners[name] == 1 else f"{stage}.{name}": value
        for stage, values in stages.items()
        for name, value in values.items()
    }


def default_hyperparameters(system: str) -> Hyperparameters:
    """The defaults of a system, named as in `Plan.hyperparameters`."""
    description = systems()[system]
    return named_hyperparameters(resolve_hyperparameters([description], {})[system])


def resolve_train_missing(rates: Mapping[str, float], corpus: Corpus) -> dict[str, float]:
    """The rate above 0 of each modality of a corpus from a configuration's key `train_missing`.

    Raises:
        PlanError: the corpus has no such modality, or only one, which cannot be removed.
    """
    if unknown := [letter for letter in rates if letter not in (EVERY_MODALITY, *corpus.letters)]:
        raise PlanError(
            f"train_missing: corpus '{corpus.name}' has no modality '{unknown[0]}'; its modalities are "
            f"{', '.join(corpus.letters)}."
        )
    default = rates.get(EVERY_MODALITY, 0.0)
    resolved = {letter: rate for letter in corpus.letters if (rate := rates.get(letter, default))}
    if resolved and len(corpus.letters) == 1:
        raise PlanError(
            f"train_missing: corpus '{corpus.name}' has one modality, which cannot be removed; leave train_missing out."
        )
    return resolved


def _check_shares(shares: Iterable[str], chosen: Sequence[SystemDescription]) -> None:
    known = {"train", "evaluate", *(name for system in chosen for name in system.stages)}
    for name in shares:
        if name not in known:
            raise PlanError(
                f"compute.gpu_shares: no chosen system has a stage '{name}'; {nearest(name, sorted(known))}"
            )


def _find_system(name: str) -> SystemDescription:
    if name not in systems():
        raise PlanError(f"There is no system '{name}'; {nearest(name, list(systems()))}")
    return systems()[name]


def _check_modalities(system: SystemDescription, corpus: Corpus) -> None:
    if len(corpus.letters) < system.fewest_modalities:
        able = [name for name, other in systems().items() if other.fewest_modalities <= len(corpus.letters)]
        raise PlanError(
            f"{system.name} needs a corpus of at least {system.fewest_modalities} modalities, and '{corpus.name}' has "
            f"{len(corpus.letters)} ({', '.join(corpus.letters)}); choose among {', '.join(able)} with --systems."
        )
    if lacking := [letter for letter in system.needs if letter not in corpus.letters]:
        raise PlanError(
            f"{system.name} needs modality {lacking[0]}, and '{corpus.name}' has {', '.join(corpus.letters)}; choose "
            "another corpus with --corpus."
        )


def _stages_of(
    system: SystemDescription,
    hyperparameters: Mapping[str, Hyperparameters],
    letters: Sequence[str],
    same: Mapping[str, Any],
    train_missing: Mapping[str, float],
) -> Iterator[Stage]:
    """The stages of one run.

    Args:
        same: what all of them have in common.
    """
    keys: dict[str, dict[str, str]] = {}
    for name, description in system.stages.items():
        what = {"definition": description.definition, "hyperparameters": hyperparameters[name], **same}
        upstream = {other: key for earlier in description.after for other, key in keys[earlier].items()}
        content = {"action": "train", "version": description.version, "upstream": upstream, **what}
        content |= {"train_missing": train_missing} if train_missing else {}
        stages = [
            Stage.of(stage, content if condition is None else {**content, "condition": condition})
            for stage, condition in description.stage_names(name, letters).items()
        ]
        keys[name] = {stage.name: stage.key for stage in stages}
        yield from stages
    evaluation = {"action": "evaluate", "version": catalogue().evaluation, "upstream": keys[name], **what}
    yield Stage.of("evaluate", evaluation)


def protocol_plan(plan: Plan, runs: Iterable[Run], protocols: Sequence[str]) -> Plan:
    """The plan that evaluates complete runs of another under protocols; nothing is trained.

    A run's stages are its evaluations, named as the protocols.

    Raises:
        PlanError: a protocol is unknown.
    """
    unknown = [name for name in protocols if name not in catalogue().protocols]
    if unknown:
        raise PlanError(f"There is no protocol '{unknown[0]}'; {nearest(unknown[0], list(catalogue().protocols))}")
    stages: dict[str, Stage] = {}
    evaluated = []
    for run in runs:
        fixed = plan.stages[run.evaluation]
        same = {name: value for name, value in vars(fixed).items() if name not in ("key", "name") and value is not None}
        code = catalogue().protocol
        of_run = [Stage.of(name, {**same, "version": code, "protocol": name}) for name in protocols]
        stages.update((stage.key, stage) for stage in of_run)
        evaluated.append(Run(run.system, run.fold, run.seed, {stage.name: stage.key for stage in of_run}))
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
