"""The catalogue: systems, their hyperparameters and the versions of their code, without PyTorch where possible.

`model/systems/catalogue.json` describes the systems as they were released, with a hash of their source. As long as
the source is unchanged, only that file is read. Otherwise somebody is changing a system: then the systems are
imported, and the stages whose source has changed get its hash into their keys, so that results of other code are never
mistaken for theirs. `python -m tests.catalogue` writes the file.

Systems from outside the package join by `add_system`, with the hash of their programs in their keys.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ifmmin.data.conditions import Condition, ConditionSet, conditions_of
from ifmmin.data.errors import UserError
from ifmmin.model.hyperparameters import Hyperparameter, HyperparameterValue
from ifmmin.model.program import Program, entry_points, is_program, read_program
from ifmmin.model.source import source_hash

if TYPE_CHECKING:
    from ifmmin.model.definition import StageDefinition, System

FILE = resources.files("ifmmin.model") / "systems" / "catalogue.json"
SYSTEMS = "ifmmin.model.systems"
TRAINING = ("ifmmin.model.training", "ifmmin.model.stacking.training")
EVALUATION = ("ifmmin.model.evaluation",)
PROTOCOLS = ("ifmmin.model.protocols",)


@dataclass(frozen=True)
class StageDescription:
    """A stage definition as planning needs it.

    Attributes:
        definition: its name.
        version: of its code: that of the definition, followed by a hash where its source is not the released one.
        conditions: those that have a network each, see `model.definition.StageDefinition`.
        losses: titles of the loss terms.
    """

    definition: str
    version: int | str
    hyperparameters: tuple[Hyperparameter, ...]
    after: tuple[str, ...]
    conditions: ConditionSet | None
    losses: Mapping[str, str]

    def stage_names(self, stage: str, letters: Sequence[str]) -> dict[str, Condition | None]:
        """The names within a run of all stages that this definition makes of a system's stage of that name.

        Each with the condition whose network it trains, if not one for all.

        Args:
            letters: of the modalities of the corpus.
        """
        conditions = conditions_of(self.conditions, letters)
        return {f"{stage}-{condition}": condition for condition in conditions} or {stage: None}


@dataclass(frozen=True)
class SystemDescription:
    """A system as planning and reporting need it, see `model.definition.System`; `embeds` if it has an embedding."""

    name: str
    summary: str
    stages: Mapping[str, StageDescription]
    search_space: Mapping[str, tuple[HyperparameterValue, ...]]
    featured_loss: str | None
    embeds: bool
    fewest_modalities: int
    needs: tuple[str, ...]


@dataclass(frozen=True)
class ProtocolDescription:
    """An evaluation protocol, see `model.protocols.Protocol`."""

    summary: str
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Catalogue:
    """Everything that can be planned.

    Attributes:
        reference: the system that the others are compared with.
        evaluation, protocol: versions of the code of evaluations in the fixed conditions and under protocols.
    """

    systems: Mapping[str, SystemDescription]
    protocols: Mapping[str, ProtocolDescription]
    reference: str
    evaluation: int | str
    protocol: int | str


def catalogue() -> Catalogue:
    """The catalogue of the code as it is now, systems registered in this process included."""
    module = sys.modules.get(SYSTEMS)
    return _catalogue(tuple((name, id(system)) for name, system in _registered(module).items()) if module else ())


def _registered(module: Any) -> "dict[str, System]":
    """The systems of `model.systems` that are shipped, or were registered by a call of `register`."""
    return {name: system for name, system in module.SYSTEMS.items() if name not in module.LOADED}


@cache
def _catalogue(registered: tuple[tuple[str, int], ...]) -> Catalogue:
    released = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {"source": None, "code": {}}
    if released["source"] == source_of_all():
        described = read(released["catalogue"])
        if {name for name, _ in registered} <= described.systems.keys():
            return described
    return describe(released["code"])


def source_of_all() -> str:
    """The hash of the source of all systems, of training and of evaluation."""
    return source_hash([SYSTEMS, *TRAINING, *EVALUATION, *PROTOCOLS])


def systems() -> Mapping[str, SystemDescription]:
    """All systems by name, in the order of their registration; those from outside the package last."""
    return {**catalogue().systems, **{name: outside.description for name, outside in _OUTSIDE.items()}}


@dataclass(frozen=True)
class OutsideSystem:
    """A system from outside the package: its program, and what planning knows of it without loading that."""

    program: Program
    description: SystemDescription

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "OutsideSystem":
        """The system from the output of `content`.

        Raises:
            UserError: it is not one.
        """
        try:
            return cls(Program.of(content["program"]), _read_system(content["description"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"The key programs holds no system that this version wrote ({error!r}); leave it out, and name the "
                "file of the system among the systems."
            ) from None

    @property
    def content(self) -> dict[str, Any]:
        """The system as values of JSON, which are equal once they have been written and read."""
        content = {"program": self.program.content, "description": asdict(self.description)}
        read: dict[str, Any] = json.loads(json.dumps(content))
        return read


_OUTSIDE: dict[str, OutsideSystem] = {}


def add_system(outside: OutsideSystem) -> None:
    """Add a system from outside the package to those that can be planned; it replaces one of the same name."""
    _OUTSIDE[outside.description.name] = outside


def outside_systems() -> Mapping[str, OutsideSystem]:
    """The systems from outside the package, by name."""
    return dict(_OUTSIDE)


def load_outside_systems() -> None:
    """Load the programs of all systems from outside the package, so that this process can compute with them.

    Raises:
        UserError: one raises an error.
    """
    if _OUTSIDE:
        from ifmmin.model.systems import load_program

        for outside in _OUTSIDE.values():
            load_program(outside.program)


def find_systems(names: Sequence[str]) -> list[str]:
    """The names of systems that are named as users do: by their names, their files, modules or entry points.

    What comes from outside the package is read, loaded, and added to the systems.

    Raises:
        UserError: a name is unknown, a program cannot be loaded, or two systems have one name.
    """
    words: dict[str, str] = {}
    for word in names:
        name = _find_system(word)
        if name in words:
            raise UserError(
                f"systems: {words[name]} and {word} are both called '{name}'; leave one out, or rename one."
            )
        words[name] = word
    return list(words)


def _find_system(word: str) -> str:
    """The name of one system; an unknown word that cannot be a program is kept, to be refused by the plan."""
    if not is_program(word):
        points = {} if word in catalogue().systems else entry_points()
        if word not in points:
            return word
        program = read_program(points[word])
    else:
        program = read_program(word)
    from ifmmin.model.systems import load_program

    outside = OutsideSystem(program, _describe_outside(program, load_program(program)))
    add_system(outside)
    return outside.description.name


def modules_of(definition: "StageDefinition") -> set[str]:
    """The modules that a stage's results come from, without those they import."""
    parts = definition.network, definition.objective, definition.hyperparameters, definition.optimizer
    return {*TRAINING, *(part.__module__ for part in (*parts, definition.schedule))}


def to_json(described: Catalogue) -> dict[str, Any]:
    """The catalogue as `catalogue.json` keeps it."""
    return asdict(described)


def read(content: Mapping[str, Any]) -> Catalogue:
    """The catalogue from the output of `to_json`."""
    return Catalogue(
        **{
            **content,
            "systems": {name: _read_system(kept) for name, kept in content["systems"].items()},
            "protocols": {
                name: ProtocolDescription(kept["summary"], tuple(kept["rates"]))
                for name, kept in content["protocols"].items()
            },
        }
    )


def _read_system(kept: Mapping[str, Any]) -> SystemDescription:
    stages = {name: _read_stage(description) for name, description in kept["stages"].items()}
    space = {name: tuple(values) for name, values in kept["search_space"].items()}
    return SystemDescription(**{**kept, "stages": stages, "search_space": space, "needs": tuple(kept["needs"])})


def _read_stage(kept: Mapping[str, Any]) -> StageDescription:
    hyperparameters = tuple(
        Hyperparameter(**{**item, "choices": tuple(item["choices"])}) for item in kept["hyperparameters"]
    )
    return StageDescription(**{**kept, "after": tuple(kept["after"]), "hyperparameters": hyperparameters})


def describe(released: Mapping[str, Mapping[str, Any]]) -> Catalogue:
    """The catalogue from the systems themselves.

    Args:
        released: version and source of each definition, and of `evaluation` and `protocol`.
    """
    from ifmmin.model import evaluation, protocols
    from ifmmin.model import systems as registered

    def version(name: str, number: int, modules: Iterable[str]) -> int | str:
        source = source_hash(modules)
        return number if {"version": number, "source": source} == released.get(name) else f"{number} {source}"

    return Catalogue(
        systems={
            name: _describe_system(
                system, lambda definition: version(definition.name, definition.version, modules_of(definition))
            )
            for name, system in _registered(registered).items()
        },
        protocols={
            name: ProtocolDescription(protocol.summary, protocol.rates)
            for name, protocol in protocols.PROTOCOLS.items()
        },
        reference=registered.REFERENCE,
        evaluation=version("evaluation", evaluation.EVALUATION_VERSION, EVALUATION),
        protocol=version("protocol", protocols.PROTOCOL_VERSION, PROTOCOLS),
    )


def _describe_system(system: "System", version: "Callable[[StageDefinition], int | str]") -> SystemDescription:
    from ifmmin.model.hyperparameters import hyperparameters_of

    return SystemDescription(
        name=system.name,
        summary=system.summary,
        stages={
            stage: StageDescription(
                definition=definition.name,
                version=version(definition),
                hyperparameters=hyperparameters_of(definition.hyperparameters),
                after=definition.after,
                conditions=definition.conditions,
                losses=dict(definition.losses),
            )
            for stage, definition in system.stages.items()
        },
        search_space=dict(system.search_space),
        featured_loss=system.featured_loss,
        embeds=system.embedding is not None,
        fewest_modalities=system.fewest_modalities,
        needs=system.needs,
    )


def _describe_outside(program: Program, system: "System") -> SystemDescription:
    """The description of a system of a program; a stage of the package's systems keeps its version."""
    code = program.version(TRAINING)
    versions = {
        stage.definition: stage.version
        for described in catalogue().systems.values()
        for stage in described.stages.values()
    }
    return _describe_system(system, lambda definition: versions.get(definition.name, f"{definition.version} {code}"))
