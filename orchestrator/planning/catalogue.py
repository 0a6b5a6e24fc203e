"""The catalogue: systems, their hyperparameters and the versions of their code, without PyTorch where possible.

`model/systems/catalogue.json` describes the systems as they were released, with a hash of their source. As long as
the source is unchanged, only that file is read. Otherwise somebody is changing a system: then the systems are
imported, and the stages whose source has changed get its hash into their keys, so that results of other code are never
mistaken for theirs. `python -m tests.catalogue` writes the file.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ifmmin.data.conditions import Condition, ConditionSet, conditions_of
from ifmmin.model.hyperparameters import Hyperparameter, HyperparameterValue
from ifmmin.model.source import source_hash

if TYPE_CHECKING:
    from ifmmin.model.definition import StageDefinition

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
    return _catalogue(tuple(module.SYSTEMS) if module else ())


@cache
def _catalogue(registered: tuple[str, ...]) -> Catalogue:
    released = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {"source": None, "code": {}}
    if released["source"] == source_of_all():
        described = read(released["catalogue"])
        if set(registered) <= described.systems.keys():
            return described
    return describe(released["code"])


def source_of_all() -> str:
    """The hash of the source of all systems, of training and of evaluation."""
    return source_hash([SYSTEMS, *TRAINING, *EVALUATION, *PROTOCOLS])


def systems() -> Mapping[str, SystemDescription]:
    """All systems by name, in the order of their registration."""
    return catalogue().systems


def modules_of(definition: "StageDefinition") -> set[str]:
    """The modules that a stage's results come from, without those they import."""
    parts = definition.network, definition.objective, definition.hyperparameters, definition.optimizer
    return {*TRAINING, *(part.__module__ for part in (*parts, definition.schedule))}


def to_json(described: Catalogue) -> dict[str, Any]:
    """The catalogue as `catalogue.json` keeps it."""
    return asdict(described)


def read(content: Mapping[str, Any]) -> Catalogue:
    """The catalogue from the output of `to_json`."""

    def stage(kept: Mapping[str, Any]) -> StageDescription:
        hyperparameters = tuple(
            Hyperparameter(**{**item, "choices": tuple(item["choices"])}) for item in kept["hyperparameters"]
        )
        return StageDescription(**{**kept, "after": tuple(kept["after"]), "hyperparameters": hyperparameters})

    def system(kept: Mapping[str, Any]) -> SystemDescription:
        stages = {name: stage(description) for name, description in kept["stages"].items()}
        space = {name: tuple(values) for name, values in kept["search_space"].items()}
        return SystemDescription(**{**kept, "stages": stages, "search_space": space, "needs": tuple(kept["needs"])})

    return Catalogue(
        **{
            **content,
            "systems": {name: system(kept) for name, kept in content["systems"].items()},
            "protocols": {
                name: ProtocolDescription(kept["summary"], tuple(kept["rates"]))
                for name, kept in content["protocols"].items()
            },
        }
    )


def describe(released: Mapping[str, Mapping[str, Any]]) -> Catalogue:
    """The catalogue from the systems themselves.

    Args:
        released: version and source of each definition, and of `evaluation` and `protocol`.
    """
    from ifmmin.model import evaluation, protocols
    from ifmmin.model import systems as registered
    from ifmmin.model.hyperparameters import hyperparameters_of

    def version(name: str, number: int, modules: Iterable[str]) -> int | str:
        source = source_hash(modules)
        return number if {"version": number, "source": source} == released.get(name) else f"{number} {source}"

    return Catalogue(
        systems={
            system.name: SystemDescription(
                name=system.name,
                summary=system.summary,
                stages={
                    stage: StageDescription(
                        definition=definition.name,
                        version=version(definition.name, definition.version, modules_of(definition)),
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
            for system in registered.SYSTEMS.values()
        },
        protocols={
            name: ProtocolDescription(protocol.summary, protocol.rates)
            for name, protocol in protocols.PROTOCOLS.items()
        },
        reference=registered.REFERENCE,
        evaluation=version("evaluation", evaluation.EVALUATION_VERSION, EVALUATION),
        protocol=version("protocol", protocols.PROTOCOL_VERSION, PROTOCOLS),
    )
