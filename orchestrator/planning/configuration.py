"""The configuration of an experiment: read from YAML, overridden from the command line, validated, then immutable."""

import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ifmmin.data.errors import UserError, nearest

SHIPPED = resources.files(__package__) / "configurations"
STORAGE = "ifmmin-store"


class ConfigurationError(UserError):
    """A configuration, or an option that changes it, is not valid."""


def parse_numbers(value: object) -> object:
    """Whole numbers written as `1-3,5`, as one number, or as a list.

    >>> parse_numbers("1-3,5")
    [1, 2, 3, 5]
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, str):
        return value
    numbers: list[int] = []
    for part in value.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match:
            raise ValueError(f"'{value}' is not a list of numbers such as 1-3,5")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last <= first + 10_000:
            raise ValueError(f"'{part.strip()}' is not a range from a smaller to a larger number")
        numbers.extend(range(first, last + 1))
    return numbers


def parse_value(value: Any) -> Any:
    """A hyperparameter's value from text: an int, a float, true or false, or else a word."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for number in (int, float):
        with suppress(ValueError):
            return number(value)
    return value


def _parse_folds(value: object) -> object:
    return value if value == "all" else parse_numbers(value)


def _without_repeats(values: tuple[Any, ...] | str) -> tuple[Any, ...] | str:
    if not values:
        raise ValueError("at least one is needed")
    if len(set(values)) < len(values) and not isinstance(values, str):
        raise ValueError("one of them is named twice")
    return values


Folds = Literal["all"] | tuple[Annotated[int, Field(ge=1)], ...]
Seeds = tuple[Annotated[int, Field(ge=0)], ...]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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

    low: float
    high: float
    log: bool = Field(False, description="draw uniformly on a logarithmic scale")

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range must begin above 0")
        return self


Choices = Annotated[tuple[int | float | bool | str, ...], Field(min_length=2)]
"""The values that a search may give a hyperparameter, where they are not a range of numbers."""


class Search(_Frozen):
    """How hyperparameters are searched: which, how often, and when a poor trial is stopped."""

    trials: int = Field(20, ge=1, le=10_000, description="number of trials")
    space: dict[str, Range | Choices] = Field(
        default_factory=dict,
        description="hyperparameters to search, each with its range or a list of values; by default the system's space",
    )
    scheduler: Literal["asha", "none"] = Field("asha", description="asha stops poor trials after few folds")
    grace_folds: int = Field(2, ge=1, description="folds that every trial visits")
    reduction: float = Field(3, gt=1, description="at each fold where asha decides, one in this many trials goes on")


class Configuration(_Frozen):
    """The configuration of an experiment: systems x folds x seeds on a corpus."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the experiment")
    corpus: str = Field("digits", description="name of a shipped or imported corpus")
    systems: Annotated[tuple[str, ...], AfterValidator(_without_repeats)] = Field(description="rows of the table")
    folds: Annotated[Folds, BeforeValidator(_parse_folds), AfterValidator(_without_repeats)] = Field(
        "all", description="all, or numbers such as 1-3,5"
    )
    seeds: Annotated[Seeds, BeforeValidator(parse_numbers), AfterValidator(_without_repeats)] = Field(
        (0,), description="seeds; each adds one run of every fold"
    )
    hyperparameters: dict[str, Annotated[int | float | bool | str, BeforeValidator(parse_value)]] = Field(
        default_factory=dict,
        description="those that differ from a system's defaults: lambda2, train.epochs, if-mmin.train.epochs",
    )
    search: Search | None = Field(None, description="what `ifmmin search` searches")
    best_of: str | None = Field(None, description="the search that chose the hyperparameters; set by --best-of")
    compute: Compute = Field(Compute(), description="where and how stages are computed")
    storage: str = Field(STORAGE, min_length=1, description="folder or URI of the store")

    @model_validator(mode="before")
    @classmethod
    def _of_today(cls, values: Any) -> Any:
        return _with_todays_words(values) if isinstance(values, dict) else values


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
    values, overrides = _with_todays_words(values), _with_todays_words(overrides)
    for key, value in overrides.items():
        merged = {**(values.get(key) or {}), **value} if isinstance(value, Mapping) else value
        values[key] = merged
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_sentence(source, error)) from None


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
    file = SHIPPED / f"{source}.yaml" if source in shipped else Path(source)
    try:
        values = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no configuration file {source}, and none of that name is shipped; {nearest(source, shipped)}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise ConfigurationError(f"{source} is not valid YAML{line}; correct it there.") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigurationError(f"{source} must hold keys and values, such as 'corpus: digits'.")
    values.setdefault("name", Path(source).stem)
    return values


def _with_todays_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the key `parameters` of older files to `hyperparameters`."""
    return {"hyperparameters" if key == "parameters" else key: value for key, value in values.items()}


def _sentence(source: str, error: ValidationError) -> str:
    """One of pydantic's errors in a sentence: an unknown key first, which may be why another is missing."""
    finding = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    location = [part for part in finding["loc"] if isinstance(part, str) and part not in _UNION_BRANCHES]
    key = ".".join(location)
    if finding["type"] == "extra_forbidden":
        sections: dict[str, type[_Frozen]] = {"compute": Compute, "search": Search}
        model = sections.get(location[-2], Configuration) if len(location) > 1 else Configuration
        return f"{source}: unknown key '{key}'; {nearest(location[-1], model.model_fields)}"
    if finding["type"] == "missing":
        return f"{source}: the key '{key}' is missing."
    reason = finding["msg"].removeprefix("Value error, ")
    return f"{source}: {key} cannot be {finding['input']!r}: {reason[:1].lower()}{reason[1:]}."


_UNION_BRANCHES = {"int", "float", "bool", "str", "literal['all']", "tuple[constrained-int, ...]"}
