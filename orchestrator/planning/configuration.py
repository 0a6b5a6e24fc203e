"""The configuration of an experiment: read from YAML, overridden from the command line, validated, then immutable."""

import re
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from ifmmin.data.errors import nearest
from ifmmin.data.paths import expand
from ifmmin.orchestrator.planning.catalogue import OutsideSystem, add_system, find_systems, outside_systems
from ifmmin.orchestrator.planning.configuration_file import ConfigurationError, read_configuration_file
from ifmmin.orchestrator.planning.stage import EVERY_MODALITY

SHIPPED = resources.files(__package__) / "configurations"
STORAGE = "ifmmin-store"
LARGEST_SEED = 2**32 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 100
"""File systems allow 255 characters, and names are joined (`paper-best-of-search`)."""
_LONGEST_RANGE = 10_000


def parse_numbers(value: object) -> object:
    """Whole numbers written as `1-3,5`, as one number, or as a list of these.

    >>> parse_numbers("1-3,5"), parse_numbers(["1-3", 5])
    ([1, 2, 3, 5], [1, 2, 3, 5])
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, str):
        return [number for part in value.split(",") for number in _parse_range(part)]
    if isinstance(value, list | tuple):
        parts = [_parse_range(part) if isinstance(part, str) else [part] for part in value]
        return [number for part in parts for number in part]
    return value


def parse_value(value: Any) -> Any:
    """A hyperparameter's value from text: an int, a float, true or false, or else a word.

    >>> [parse_value(text) for text in ("10", "1e-3", "true", "no", "1:3", "nan")]
    [10, 0.001, True, 'no', '1:3', 'nan']
    """
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]{1,18}", value):
        return int(value)
    if re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", value):
        return float(value)
    return value


def parse_words(value: object) -> object:
    """Words from one text that commas separate."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def parse_rates(value: object) -> object:
    """The rates of `train_missing` by modality, from one number for all, from text, or as they are.

    >>> parse_rates(0.3), parse_rates("a=0.1,v=0.5")
    ({'all': 0.3}, {'a': 0.1, 'v': 0.5})
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {EVERY_MODALITY: value}
    if not isinstance(value, str):
        return value
    rates: dict[str, float] = {}
    for part in value.split(","):
        letter, _, text = part.rpartition("=")
        rate, letter = parse_value(text.strip()), letter.strip() or EVERY_MODALITY
        if not isinstance(rate, int | float) or isinstance(rate, bool):
            raise ValueError("write a rate from 0 to 1, such as 0.3, or one for each modality, such as a=0.1,v=0.5")
        if letter in rates:
            raise ValueError(f"{letter} is named twice")
        rates[letter] = rate
    return rates


def _parse_range(part: str) -> list[int]:
    match = re.fullmatch(r"\s*([0-9]{1,18})\s*(?:-\s*([0-9]{1,18})\s*)?", part)
    if not match:
        raise ValueError("numbers are written as 1-3,5")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"a range goes from the smaller to the larger number, {last}-{first}")
    if last >= first + _LONGEST_RANGE:
        raise ValueError(f"a range has at most {_LONGEST_RANGE:,} numbers")
    return list(range(first, last + 1))


def _parse_folds(value: object) -> object:
    return value if value == "all" else parse_numbers(value)


def _without_repeats(values: tuple[Any, ...] | str) -> tuple[Any, ...] | str:
    if not values:
        raise ValueError("at least one is needed")
    if isinstance(values, str):
        return values
    if repeated := [value for value, count in Counter(values).items() if count > 1]:
        raise ValueError(f"{repeated[0]} is named twice")
    return values


Folds = Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...]
Seeds = tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...]
Value: TypeAlias = Annotated[int | float | bool | str, BeforeValidator(parse_value)]


class _Frozen(BaseModel):
    """Keys with values; a key with nothing after it is as if it were not there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, Mapping) else values


GPU_SHARES = {"train": 0.25, "evaluate": 0.1}
"""The default fraction of a GPU that a stage takes, by its action."""


class Compute(_Frozen):
    """Where and how stages are computed."""

    workers: int | None = Field(
        None, ge=1, le=1024, description="number of stages that run at once; by default one for each CPU core"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto uses GPUs if there are any")
    gpu_shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict,
        description="fraction of a GPU by stage (pretrain, train, ...) or action: train (0.25), evaluate (0.1)",
    )
    runs_per_task: int | None = Field(
        None, ge=1, le=1024, description="runs trained as one; by default 1 on a CPU, on a GPU as many as fit"
    )
    retries: int = Field(10, ge=0, description="how often a stage is retried after its worker or node was lost")
    checkpoint_s: float = Field(
        30, ge=0, le=60, description="least number of seconds between two checkpoints of a stage"
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 computes under autocast")

    def gpu_share(self, stage: str, action: str) -> float:
        """The fraction of a GPU that a stage of this name takes, which trains or evaluates."""
        return self.gpu_shares.get(stage, self.gpu_shares.get(action, GPU_SHARES[action]))


class Range(_Frozen):
    """The values that a search may give a hyperparameter; whole numbers where the hyperparameter is one."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    log: bool = Field(False, description="draw uniformly on a logarithmic scale")

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if not self.low < self.high:
            raise ValueError("low must be below high; a hyperparameter with one value belongs under hyperparameters")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range must begin above 0")
        return self


def _check_choices(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise ValueError("write a range as {low: 1, high: 7}, or a list of at least two values")
    return value


Choices = Annotated[tuple[Value, ...], BeforeValidator(_check_choices)]
"""The values that a search may give a hyperparameter, where they are not a range of numbers."""

Domain = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(lambda value: "range" if isinstance(value, Mapping | Range) else "choices"),
]


class Search(_Frozen):
    """How hyperparameters are searched: which, how often, and when a poor trial is stopped."""

    trials: int = Field(20, ge=1, le=10_000, description="number of trials")
    space: dict[str, Domain] = Field(
        default_factory=dict,
        description="hyperparameters to search, each with its range or a list of values; by default the system's space",
    )
    scheduler: Literal["asha", "none"] = Field("asha", description="asha stops poor trials after few folds")
    grace_folds: int = Field(2, ge=1, description="folds that every trial visits")
    reduction: float = Field(
        3, gt=1, allow_inf_nan=False, description="at each fold where asha decides, one in this many trials goes on"
    )


class Configuration(_Frozen):
    """The configuration of an experiment: systems x folds x seeds on a corpus."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the experiment")
    corpus: str = Field("digits", description="name of a shipped or imported corpus")
    systems: Annotated[tuple[str, ...], BeforeValidator(parse_words), AfterValidator(_without_repeats)] = Field(
        description="rows of the table"
    )
    folds: Annotated[Folds, BeforeValidator(_parse_folds), AfterValidator(_without_repeats)] = Field(
        "all", description="all, or numbers such as 1-3,5"
    )
    seeds: Annotated[Seeds, BeforeValidator(parse_numbers), AfterValidator(_without_repeats)] = Field(
        (0,), description="seeds; each adds one run of every fold"
    )
    hyperparameters: dict[str, Value] = Field(
        default_factory=dict,
        description="those that differ from a system's defaults: lambda2, train.epochs, if-mmin.train.epochs",
    )
    train_missing: Annotated[
        dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]], BeforeValidator(parse_rates)
    ] = Field(
        default_factory=dict,
        description="rate at which modalities are removed from training utterances: 0.3, or by modality a=0.1,v=0.5",
    )
    programs: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="systems from outside the package by name, with their text; set by naming their files",
    )
    search: Search | None = Field(None, description="what `ifmmin search` searches")
    best_of: str | None = Field(None, description="the search that chose the hyperparameters; set by --best-of")
    compute: Compute = Field(Compute(), description="where and how stages are computed")
    storage: Annotated[str, AfterValidator(expand)] = Field(
        STORAGE, min_length=1, description="folder or URI of the store"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_today(cls, values: Any) -> Any:
        return _with_todays_words(values, "configuration") if isinstance(values, Mapping) else values


def load_configuration(source: str | Mapping[str, Any], overrides: Mapping[str, Any]) -> Configuration:
    """The configuration of a shipped name or a file, with overrides.

    Args:
        source: `demo`, `paper`, the path of a YAML file, or the content of such a file.
        overrides: top-level keys; `hyperparameters` and `compute` are merged key by key, the others replaced.

    Raises:
        ConfigurationError: the file is missing or not YAML, or a key or value is not valid.
    """
    if isinstance(source, Mapping):
        values, source = {"name": "experiment", **source}, "configuration"
    else:
        values = _read(source)
    values, overrides = _with_todays_words(values, source), _with_todays_words(overrides, "options")
    for key, value in overrides.items():
        values[key] = value if key == "train_missing" else _merged(values.get(key), value)
    _check_name(source, values)
    try:
        return _with_programs(Configuration.model_validate(values))
    except ValidationError as error:
        raise ConfigurationError(_sentence(source, values, error)) from None


def _with_programs(configuration: Configuration) -> Configuration:
    """The configuration with all systems by their names, and with what comes from outside the package."""
    add_programs(configuration)
    names = find_systems(configuration.systems)
    outside = outside_systems()
    programs = {name: outside[name].content for name in names if name in outside}
    return configuration.model_copy(update={"systems": tuple(names), "programs": programs})


def add_programs(configuration: Configuration) -> None:
    """Add the systems that a configuration brings from outside the package to those that can be planned."""
    for content in configuration.programs.values():
        add_system(OutsideSystem.of(content))


def parse_hyperparameters(assignments: list[str]) -> dict[str, int | float | bool | str]:
    """Hyperparameters from the command line's `--set key=value`.

    >>> parse_hyperparameters(["lambda2=50", "train.learning_rate=1e-3", "pooling=mean", "bidirectional=true"])
    {'lambda2': 50, 'train.learning_rate': 0.001, 'pooling': 'mean', 'bidirectional': True}

    Raises:
        ConfigurationError: one is not of that form.
    """
    values: dict[str, int | float | bool | str] = {}
    for assignment in assignments:
        key, _, text = (part.strip() for part in assignment.partition("="))
        if not key or not text:
            raise ConfigurationError(f"--set {assignment}: write key=value, such as --set lambda2=50.")
        values[key] = parse_value(text)
    return values


def _read(source: str) -> dict[str, Any]:
    shipped = sorted(file.name.removesuffix(".yaml") for file in SHIPPED.iterdir() if file.name.endswith(".yaml"))
    file = SHIPPED / f"{source}.yaml" if source in shipped else Path(expand(source))
    try:
        return read_configuration_file(file, source)
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no configuration file {source}, and none of that name is shipped; {nearest(source, shipped)}"
        ) from None


def _with_todays_words(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Rename the key `parameters` of older files to `hyperparameters`."""
    if {"parameters", "hyperparameters"} <= values.keys():
        raise ConfigurationError(f"{source} has both hyperparameters and parameters, their older name; join them.")
    return {"hyperparameters" if key == "parameters" else key: value for key, value in values.items()}


def _merged(section: Any, change: Any) -> Any:
    """A value replaced, or a section changed key by key; one that is not a section stays, to be refused."""
    if not isinstance(change, Mapping) or section is None:
        return change
    return {**section, **change} if isinstance(section, Mapping) else section


def _check_name(source: str, values: dict[str, Any]) -> None:
    """Name the experiment after its file where it has no name, and refuse names that cannot be files everywhere."""
    if values.get("name") is not None:
        name, what = values["name"], "name"
    else:
        name, what = Path(source).stem, "the name of the file, which names the experiment,"
        values["name"] = name
    if isinstance(name, str) and not (_NAME.fullmatch(name) and len(name) <= _LONGEST_NAME):
        raise ConfigurationError(
            f"{source}: {what} cannot be {_SHORT.repr(name)}; choose one of at most {_LONGEST_NAME} letters, digits, "
            "'.', '-' and '_' with --name, or with the key name."
        )


def _sentence(source: str, values: Mapping[str, Any], error: ValidationError) -> str:
    """One of pydantic's errors in a sentence: an unknown key first, which may be why another is missing."""
    finding = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    path = _path(values, finding["loc"])
    key = ".".join(path)
    if finding["type"] == "extra_forbidden":
        return f"{source}: unknown key '{key}'; {nearest(path[-1], _section(path).model_fields)}"
    if finding["type"] == "missing":
        missing = str(finding["loc"][-1])
        return f"{source}: the key '{'.'.join((*path, missing) if path[-1:] != [missing] else path)}' is missing."
    if finding["input"] is None:
        return f"{source}: {key} is empty; give it a value, or delete it."
    reason = _REASONS.get(finding["type"], finding["msg"].removeprefix("Value error, "))
    return f"{source}: {key} cannot be {_SHORT.repr(finding['input'])}: {reason[:1].lower()}{reason[1:]}."


def _path(values: object, location: tuple[int | str, ...]) -> list[str]:
    """The keys on the way to a value, without the positions in lists and pydantic's branches of unions."""
    path: list[str] = []
    for part in location:
        if isinstance(values, Mapping) and part in values:
            path.append(str(part))
            values = values[part]
    return path


def _section(path: list[str]) -> type[_Frozen]:
    """The part of a configuration that a key belongs to."""
    if path[0] == "search" and len(path) > 2:
        return Range
    sections: dict[str, type[_Frozen]] = {"compute": Compute, "search": Search}
    return sections.get(path[0], Configuration) if len(path) > 1 else Configuration


_REASONS = {
    "dict_type": "it needs keys with values",
    "model_type": "it needs keys with values",
    "tuple_type": "it needs a list",
    "string_type": "it needs text",
    "int_parsing": "it needs a whole number",
    "int_from_float": "it needs a whole number",
    "float_parsing": "it needs a number",
    "bool_parsing": "it needs true or false",
}
"""Pydantic's reasons that are about Python, in the words of a configuration file."""

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80
