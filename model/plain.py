"""Systems from plain PyTorch modules: what a module leaves to the framework is added here.

A module whose `forward(features, lengths, available)` returns logits is enough for a system. It is trained with
cross-entropy under conditions drawn anew for every utterance, never sees what is missing, and may draw as it likes.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import Field, field, make_dataclass
from types import ModuleType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples, availability
from ifmmin.data.conditions import Condition, ConditionSet
from ifmmin.data.errors import UserError, listed, nearest
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System, Upstream, Weights
from ifmmin.model.draws import Generator, draw_availability
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.program import Program

INPUTS = ("features", "lengths", "available")
"""The arguments of a plain module's `forward`."""

_MODULE = "module."
"""What the names of a plain module's parameters begin with in its network."""

OF_CORPUS = ("dimensions", "classes")
"""The arguments of its constructor that the corpus determines; all others are hyperparameters."""


def system_of(module: type[nn.Module], name: str | None = None) -> System:
    """A system of one stage from a plain module.

    The module's constructor takes `dimensions` (the number of features by letter) and `classes`, and hyperparameters
    with their defaults. Its `forward` takes `features`, by letter (batch, time, features), zero beyond an utterance's
    length and where the modality is missing; `lengths`, by letter int64 (batch,), 1 where the modality is missing;
    and `available`, bool (batch, modalities). It returns logits (batch, classes).

    Args:
        module: the class.
        name: of the system; by default that of the class in lower case, with hyphens.

    Raises:
        UserError: the constructor or `forward` takes something else.
    """
    definition = stage_of(module, name)
    summary = next(iter((module.__doc__ or "").strip().splitlines()), "") or module.__name__
    space = {"learning_rate": (1e-4, 1e-2, True)}
    return System(definition.name, summary.rstrip("."), {"train": definition}, space, fewest_modalities=1)


def stage_of(
    module: type[nn.Module],
    name: str | None = None,
    *,
    after: tuple[str, ...] = (),
    conditions: ConditionSet | None = None,
) -> StageDefinition:
    """A stage that trains a plain module, see `system_of`.

    Args:
        module: the class. With `after`, its method `start_from(upstream)` is called before training, with what
            `state_dict()` of each earlier stage's module is, by the name of the stage.
        name: of the definition; by default that of the class in lower case, with hyphens.
        after: the stages of the same system whose weights it starts from.
        conditions: those that have a network each; `single` trains one on each modality.

    Raises:
        UserError: the constructor or `forward` takes something else.
    """
    _check_forward(module)
    if after and not callable(getattr(module, "start_from", None)):
        raise UserError(f"{module.__name__} comes after {listed(after)} and needs a method start_from(self, upstream).")
    hyperparameters, taken = _hyperparameters_of(module)
    return StageDefinition(
        name=name or _hyphenated(module.__name__),
        version=1,
        hyperparameters=hyperparameters,
        network=_network_of(module, taken),
        objective=PlainObjective,
        after=after,
        conditions=conditions,
        losses={"cls": "classification, $L_{cls}$"},
    )


def system_in(module: ModuleType, program: Program) -> System:
    """The system that a module of a program defines: a `System`, or the class of a plain module.

    Raises:
        UserError: there is none, or there are several.
    """
    if program.attribute:
        if not hasattr(module, program.attribute):
            raise UserError(
                f"{program.file} has no {program.attribute}; {nearest(program.attribute, _systems(module))}"
            )
        chosen = program.attribute
    else:
        systems = _systems(module)
        if not systems:
            raise UserError(
                f"{program.file} has no system; define a torch.nn.Module with forward(self, {', '.join(INPUTS)}), or "
                "SYSTEM = System(…)."
            )
        if len(systems) > 1 and "SYSTEM" not in systems:
            raise UserError(
                f"{program.file} has several systems, {listed(systems)}; name one, as {program.file}:{systems[0]}."
            )
        chosen = "SYSTEM" if "SYSTEM" in systems else systems[0]
    value = getattr(module, chosen)
    if isinstance(value, System):
        return value
    if isinstance(value, type) and issubclass(value, nn.Module) and not issubclass(value, Network | Objective):
        return system_of(value)
    raise UserError(f"{chosen} of {program.file} must be a System or a class of torch.nn.Module, not {value!r:.60}.")


class PlainNetwork(Network):
    """A plain module as a network."""

    seeds_draws: ClassVar[bool] = True

    def __init__(self, make: Callable[[], nn.Module], shape: Shape) -> None:
        super().__init__()
        self._make = make
        self._classes = shape.classes
        self.module = make()
        self.trained_under = (shape.condition,) if shape.condition else shape.conditions
        self.selection = (shape.condition,) if shape.condition else shape.missing or (shape.full,)

    def initialise(self, generator: torch.Generator) -> None:
        """Build the module anew, with its draws from the generator."""
        with seeded(generator):
            self.module = self._make()

    def clipping_groups(self) -> list[list[nn.Parameter]]:
        """All parameters as one group."""
        return [list(self.parameters())]

    def forward(self, batch: Batch, available: Tensor) -> Tensor:
        """Logits (batch, classes) with these modalities available, bool (batch, modalities)."""
        there = available if batch.present is None else available & batch.present
        features, lengths = {}, {}
        for letter, known in zip(batch.letters, there.unbind(1), strict=True):
            features[letter] = batch.features[letter].masked_fill(~known[:, None, None], 0)
            lengths[letter] = batch.lengths[letter].clamp(min=1).where(known, 1)
        logits = self.module(features, lengths, there)
        expected = (len(batch), self._classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
            raise UserError(
                f"forward of {type(self.module).__name__} returns logits of {got}; they must be a tensor (batch, "
                f"classes), here {expected}."
            )
        return logits

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""
        masks = availability(conditions, batch.letters, batch.rows.device)
        return torch.stack([self(batch, mask.expand(len(batch), -1)) for mask in masks])


class PlainObjective(Objective):
    """Cross-entropy, with a condition drawn for every utterance among those that the network is for."""

    network: PlainNetwork

    def __init__(self, network: Network, hyperparameters: Any, examples: Examples, upstream: Upstream) -> None:
        super().__init__(network, hyperparameters, examples, upstream)
        if upstream:
            states = {stage: _state_of(weights) for stage, weights in upstream.items()}
            self.network.module.start_from(states)  # type: ignore[operator]  # checked by `stage_of`

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        available = draw_availability(batch, generator, self.network.trained_under)
        with seeded(generator):
            logits = self.network(batch, available)
        loss = F.cross_entropy(logits.float(), batch.labels)
        return Losses(loss, {"cls": loss})


def _state_of(weights: Weights) -> dict[str, Tensor]:
    """The weights of an earlier stage as its plain module knows them."""
    plain = all(name.startswith(_MODULE) for name in weights)
    return {
        name.removeprefix(_MODULE) if plain else name: torch.from_numpy(value.copy()) for name, value in weights.items()
    }


@contextmanager
def seeded(generator: Generator) -> Iterator[None]:
    """Draws from PyTorch's global random state come from the generator inside the context; after it they go on."""
    assert isinstance(generator, torch.Generator)  # plain modules are not stacked
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _network_of(module: type[nn.Module], taken: tuple[str, ...]) -> Callable[[Shape, Any], PlainNetwork]:
    """Makes the network of a stage; its results come from the module that defines the class."""

    def network(shape: Shape, hyperparameters: TrainingHyperparameters) -> PlainNetwork:
        values = {name: getattr(hyperparameters, name) for name in taken}
        return PlainNetwork(lambda: module(dimensions=dict(shape.dimensions), classes=shape.classes, **values), shape)

    network.__module__ = module.__module__
    return network


def _systems(module: ModuleType) -> list[str]:
    """The names of what a module defines that can be a system: a `System`, or else classes of plain modules."""
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    systems = [name for name, value in public.items() if isinstance(value, System)]
    return systems or [name for name, value in public.items() if _is_plain(value, module)]


def _is_plain(value: object, module: ModuleType) -> bool:
    """Whether a value is a class that the module defines, with the `forward` of a plain module."""
    if not (isinstance(value, type) and issubclass(value, nn.Module)) or issubclass(value, Network | Objective):
        return False
    return value.__module__ == module.__name__ and _arguments(value.forward)[: len(INPUTS)] == INPUTS


def _arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)[1:]


def _check_forward(module: type[nn.Module]) -> None:
    if (arguments := _arguments(module.forward)) != INPUTS:
        raise UserError(
            f"forward of {module.__name__} takes ({', '.join(arguments)}); it must take ({', '.join(INPUTS)})."
        )


def _hyperparameters_of(module: type[nn.Module]) -> tuple[type[TrainingHyperparameters], tuple[str, ...]]:
    """The class of a module's hyperparameters, and the names of those that its constructor takes."""
    if module.__init__ is nn.Module.__init__:
        raise UserError(f"{module.__name__} needs a constructor, __init__(self, {', '.join(OF_CORPUS)}).")
    parameters = dict(list(inspect.signature(module.__init__).parameters.items())[1:])
    if lacking := [name for name in OF_CORPUS if name not in parameters]:
        raise UserError(
            f"The constructor of {module.__name__} needs an argument {lacking[0]}, as in __init__(self, dimensions, "
            "classes, width=64)."
        )
    hints = get_type_hints(module.__init__)
    values = {
        name: _as_field(module, parameter, hints.get(name))
        for name, parameter in parameters.items()
        if name not in OF_CORPUS
    }
    unused = {} if "dropout" in values else {"dropout": (float, field(default=0.0, init=False))}
    trained = _training_defaults(module)
    cls = make_dataclass(
        f"{module.__name__}Hyperparameters",
        [(name, *typed) for name, typed in {**trained, **unused, **values}.items()],
        bases=(TrainingHyperparameters,),
        frozen=True,
        kw_only=True,
    )
    cls.__module__ = module.__module__
    return cls, tuple(values)


def _training_defaults(module: type[nn.Module]) -> dict[str, tuple[Any, Any]]:
    """The hyperparameters of training whose defaults a class attribute `training_defaults` changes."""
    known, changed = TrainingHyperparameters.__dataclass_fields__, {}
    changes: Mapping[str, Any] = getattr(module, "training_defaults", {})
    for name, default in changes.items():
        if name not in known:
            raise UserError(f"training_defaults of {module.__name__}: {nearest(name, known)}")
        changed[name] = (known[name].type, field(default=default, metadata=known[name].metadata))
    return changed


def _as_field(module: type[nn.Module], parameter: inspect.Parameter, kind: Any) -> tuple[Any, Any]:
    """A parameter of a constructor as the type and the field of a hyperparameter."""
    where, default = f"{module.__name__}.__init__: {parameter.name}", parameter.default
    if default is parameter.empty or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise UserError(
            f"{where} needs a default, for it is a hyperparameter; the corpus gives dimensions and classes."
        )
    if isinstance(default, Field):
        return kind or type(default.default), default
    meaning, choices = _meaning(module, parameter.name), ()
    if get_origin(kind) is Literal:
        kind, choices = str, get_args(kind)
    known = TrainingHyperparameters.__dataclass_fields__.get(parameter.name)
    if known is not None:
        return known.type, field(default=default, metadata=known.metadata)
    kind = kind or type(default)
    if kind not in (int, float, bool) and not choices:
        raise UserError(
            f'{where} must be an int, a float, a bool, or one of several words, as {parameter.name}: Literal["mean", '
            '"max"] = "mean".'
        )
    return kind, hyperparameter(default, meaning, choices=choices)


def _meaning(module: type[nn.Module], name: str) -> str:
    """What the docstring of a module says of an argument."""
    for text in (module.__doc__, module.__init__.__doc__):
        if match := re.search(rf"^\s*{name}: (.+)$", text or "", re.MULTILINE):
            return match[1].rstrip(".")
    return f"argument of {module.__name__}"


def _hyphenated(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
