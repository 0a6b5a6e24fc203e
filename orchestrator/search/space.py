"""The hyperparameters that a search chooses, and the values each may take."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError, nearest
from ifmmin.model.hyperparameters import Hyperparameter, HyperparameterValue
from ifmmin.orchestrator.planning.catalogue import systems
from ifmmin.orchestrator.planning.configuration import Choices, Configuration, Range, Search
from ifmmin.orchestrator.planning.plan import Hyperparameters, make_plan
from ifmmin.orchestrator.search.trials import SearchError, with_hyperparameters


@dataclass(frozen=True)
class Dimension:
    """A searched hyperparameter and its values: a range of numbers, or several to choose from."""

    hyperparameter: Hyperparameter
    domain: Range | Choices


def size_of(space: Mapping[str, Dimension]) -> int | None:
    """The number of different trials that are possible; None where a range of fractions makes it unlimited."""
    sizes = []
    for dimension in space.values():
        if not isinstance(dimension.domain, Range):
            sizes.append(len(dimension.domain))
        elif dimension.hyperparameter.kind == "int":
            sizes.append(int(dimension.domain.high) - int(dimension.domain.low) + 1)
        else:
            return None
    return math.prod(sizes)


def limit_of(configuration: Configuration) -> str | None:
    """A sentence that says so where a search asks for more trials than its space allows."""
    wanted, possible = (configuration.search or Search()).trials, search_of(configuration).trials
    if possible == wanted:
        return None
    return f"The search space has only {possible} different trials, so {possible} are run instead of {wanted}."


def search_of(configuration: Configuration) -> Search:
    """What the configuration searches.

    The space is that of its system unless the configuration names one; there are no more trials than it allows.

    Raises:
        SearchError: there is more than one system, or neither it nor the configuration names a space.
    """
    if len(configuration.systems) != 1:
        raise SearchError(f"A search is for one system; name one of {', '.join(configuration.systems)} with --systems.")
    search = configuration.search or Search()
    (system,) = configuration.systems
    default = systems()[system].search_space if system in systems() else {}
    space = search.space or {name: _domain(values) for name, values in default.items()}
    if not space:
        raise SearchError(
            f"{system} has no default search space; name hyperparameters and their ranges under 'search: space:'."
        )
    known = _hyperparameters(system)
    dimensions = {
        name: Dimension(known[_short(name)], domain) for name, domain in space.items() if _short(name) in known
    }
    possible = size_of(dimensions) if len(dimensions) == len(space) else None
    trials = search.trials if possible is None else min(search.trials, possible)
    return search.model_copy(update={"space": space, "trials": trials})


def check_space(configuration: Configuration, corpus: Corpus) -> dict[str, Dimension]:
    """The dimensions of a search by the name of their hyperparameter.

    Raises:
        SearchError: there is more than one system, or a hyperparameter or a value is not possible for it.
    """
    search = search_of(configuration)
    make_plan(configuration, corpus)
    (system,) = configuration.systems
    known = _hyperparameters(system)
    space: dict[str, Dimension] = {}
    for name, domain in search.space.items():
        hyperparameter = known.get(_short(name))
        if hyperparameter is None:
            raise SearchError(f"search.space: {system} has no hyperparameter '{name}'; {nearest(name, sorted(known))}")
        if isinstance(domain, Range) and hyperparameter.kind not in ("int", "float"):
            raise SearchError(f"search.space.{name} must be a list of values to choose from, not a range.")
        if isinstance(domain, Range) and hyperparameter.kind == "int" and not _whole(domain):
            raise SearchError(f"search.space.{name}: low and high must be whole numbers.")
        for value in (domain.low, domain.high) if isinstance(domain, Range) else domain:
            try:
                make_plan(with_hyperparameters(configuration, {name: value}), corpus)
            except UserError as error:
                raise SearchError(f"search.space.{name}: {error}") from None
        if not isinstance(domain, Range):
            _check_different(name, [hyperparameter.accept(value) for value in domain])
        space[name] = Dimension(hyperparameter, domain)
    return space


def first_hyperparameters(configuration: Configuration, corpus: Corpus) -> Hyperparameters | None:
    """What the first trial tries: the configuration's values, else the system's defaults, which are the paper's.

    None where they lie outside the space.
    """
    (defaults,) = make_plan(configuration, corpus).hyperparameters.values()
    first = {}
    for name, domain in search_of(configuration).space.items():
        value = defaults.get(name, next(v for key, v in defaults.items() if _short(key) == _short(name)))
        if not (_contains(domain, value) if isinstance(domain, Range) else value in domain):
            return None
        first[name] = value
    return first


def _hyperparameters(system: str) -> Mapping[str, Hyperparameter]:
    """The hyperparameters of a system by name; none for an unknown system."""
    stages = systems()[system].stages.values() if system in systems() else ()
    return {item.name: item for stage in stages for item in stage.hyperparameters}


def _short(name: str) -> str:
    """A hyperparameter's name without stage and system."""
    return name.rpartition(".")[2]


def _check_different(name: str, values: list[HyperparameterValue]) -> None:
    if repeated := [value for value, count in Counter(values).items() if count > 1]:
        raise SearchError(f"search.space.{name}: {repeated[0]} is listed twice; list each value once.")


def _domain(values: tuple[object, ...]) -> Range | Choices:
    """The default space of a system: (low, high, log), or values to choose from."""
    if len(values) == 3 and isinstance(values[2], bool) and not isinstance(values[0], bool | str):
        return Range(low=values[0], high=values[1], log=values[2])
    return values  # type: ignore[return-value]


def _contains(domain: Range, value: object) -> bool:
    return isinstance(value, int | float) and domain.low <= value <= domain.high


def _whole(domain: Range) -> bool:
    return domain.low == int(domain.low) and domain.high == int(domain.high)
