"""The hyperparameters that a search chooses, and the values each may take."""

from dataclasses import dataclass

from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError, nearest
from ifmmin.model.hyperparameters import Hyperparameter
from ifmmin.orchestrator.planning.catalogue import systems
from ifmmin.orchestrator.planning.configuration import Choices, Configuration, Range, Search
from ifmmin.orchestrator.planning.plan import Hyperparameters, make_plan
from ifmmin.orchestrator.search.trials import SearchError, with_hyperparameters


@dataclass(frozen=True)
class Dimension:
    """A searched hyperparameter and its values: a range of numbers, or several to choose from."""

    hyperparameter: Hyperparameter
    domain: Range | Choices


def search_of(configuration: Configuration) -> Search:
    """What the configuration searches; the space is that of its system unless the configuration names one.

    Raises:
        SearchError: there is more than one system, or neither it nor the configuration names a space.
    """
    if len(configuration.systems) != 1:
        raise SearchError(f"A search is for one system; name one of {', '.join(configuration.systems)} with --systems.")
    search = configuration.search or Search()
    if search.space:
        return search
    (system,) = configuration.systems
    default = systems()[system].search_space if system in systems() else {}
    if not default:
        raise SearchError(
            f"{system} has no default search space; name hyperparameters and their ranges under 'search: space:'."
        )
    return search.model_copy(update={"space": {name: _domain(values) for name, values in default.items()}})


def check_space(configuration: Configuration, corpus: Corpus) -> dict[str, Dimension]:
    """The dimensions of a search by the name of their hyperparameter.

    Raises:
        SearchError: there is more than one system, or a hyperparameter or a value is not possible for it.
    """
    search = search_of(configuration)
    make_plan(configuration, corpus)
    (system,) = configuration.systems
    known = {item.name: item for stage in systems()[system].stages.values() for item in stage.hyperparameters}
    space: dict[str, Dimension] = {}
    for name, domain in search.space.items():
        hyperparameter = known.get(name.rpartition(".")[2])
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
        space[name] = Dimension(hyperparameter, domain)
    return space


def first_hyperparameters(configuration: Configuration, corpus: Corpus) -> Hyperparameters | None:
    """What the first trial tries: the configuration's values, else the system's defaults, which are the paper's.

    None where they lie outside the space.
    """
    (defaults,) = make_plan(configuration, corpus).hyperparameters.values()
    first = {}
    for name, domain in search_of(configuration).space.items():
        short = name.rpartition(".")[2]
        value = defaults.get(name, next(v for key, v in defaults.items() if key.rpartition(".")[2] == short))
        if not (_contains(domain, value) if isinstance(domain, Range) else value in domain):
            return None
        first[name] = value
    return first


def _domain(values: tuple[object, ...]) -> Range | Choices:
    """The default space of a system: (low, high, log), or values to choose from."""
    if len(values) == 3 and isinstance(values[2], bool) and not isinstance(values[0], bool | str):
        return Range(low=values[0], high=values[1], log=values[2])
    return values  # type: ignore[return-value]


def _contains(domain: Range, value: object) -> bool:
    return isinstance(value, int | float) and domain.low <= value <= domain.high


def _whole(domain: Range) -> bool:
    return domain.low == int(domain.low) and domain.high == int(domain.high)
