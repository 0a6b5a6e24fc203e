"""Hyperparameters of a stage, each with its kind, default, meaning and bounds. No PyTorch here.

Those of every trained stage are `TrainingHyperparameters`; a system adds others in its module.
"""

import sys
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_type_hints

from ifmmin.data.errors import UserError, nearest

HyperparameterValue: TypeAlias = int | float | bool | str
Kind: TypeAlias = Literal["int", "float", "bool", "word"]

_KINDS: dict[Any, Kind] = {int: "int", float: "float", bool: "bool", str: "word"}


def hyperparameter(
    default: Any,
    meaning: str,
    *,
    minimum: float | None = None,
    below: float | None = None,
    positive: bool = False,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of a class of hyperparameters, with minimum <= value < below for numbers and choices for a word."""
    about = {"meaning": meaning, "minimum": minimum, "below": below, "positive": positive, "choices": choices}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter and its bounds.

    Attributes:
        minimum: the smallest possible number.
        below: what a number must be below.
        positive: whether a number must be above 0.
        choices: the possible words.
    """

    name: str
    kind: Kind
    default: HyperparameterValue
    meaning: str
    minimum: float | None = None
    below: float | None = None
    positive: bool = False
    choices: tuple[str, ...] = ()

    def accept(self, value: object) -> HyperparameterValue:
        """The value, converted to the hyperparameter's kind.

        Raises:
            UserError: it is of another kind, or out of bounds.
        """
        if self.kind == "word":
            return self._word(value)
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise UserError(f"{self.name} is {value}; it must be true or false.")
            return value
        return self._number(value)

    def _word(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise UserError(f"{self.name} cannot be {value}; {nearest(str(value), self.choices)}")
        return value

    def _number(self, value: object) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise UserError(f"{self.name} is {value}; it must be a finite number.")
        if self.kind == "int" and value != int(value):
            raise UserError(f"{self.name} must be a whole number, not {value}.")
        if self.kind == "int" and abs(value) >= 2**31:
            raise UserError(f"{self.name} is {value:.4g}; it must be below 2^31.")
        number = int(value) if self.kind == "int" else float(value)
        if self.minimum is not None and number < self.minimum:
            raise UserError(f"{self.name} is {number}; it must be at least {self.minimum}.")
        if self.below is not None and number >= self.below:
            raise UserError(f"{self.name} is {number}; it must be below {self.below}.")
        if self.positive and number <= 0:
            raise UserError(f"{self.name} is {number}; it must be above 0.")
        return number


def hyperparameters_of(cls: type) -> tuple[Hyperparameter, ...]:
    """The hyperparameters of a class, in the order of its fields.

    Raises:
        UserError: a field was not made by `hyperparameter`, or its type is not supported.
    """
    hints = get_type_hints(cls)
    described = []
    for item in (item for item in fields(cls) if item.init):
        where = f"{cls.__name__}.{item.name}"
        if "meaning" not in item.metadata or item.default is MISSING:
            raise UserError(f'{where} is not a hyperparameter; write `= hyperparameter(default, "meaning")`.')
        kind = _KINDS.get(hints[item.name])
        if kind is None:
            raise UserError(f"{where} must be an int, a float, a bool, or a str with choices.")
        if (kind == "word") != bool(item.metadata["choices"]):
            raise UserError(f"{where}: a str needs choices=(...), and nothing else has them.")
        described.append(Hyperparameter(item.name, kind, item.default, **item.metadata))
    return tuple(described)


@dataclass(frozen=True, kw_only=True)
class TrainingHyperparameters:
    """How a network is trained: Adam, its learning rate constant at first and then decaying linearly.

    Raises:
        UserError: a value is of the wrong kind or out of bounds.
    """

    epochs: int = hyperparameter(20, "passes over the training set", minimum=1)
    constant_epochs: int = hyperparameter(10, "epochs before the learning rate decays", minimum=0)
    batch_size: int = hyperparameter(64, "utterances in a batch", minimum=1)
    learning_rate: float = hyperparameter(2e-4, "Adam's learning rate at the start", positive=True)
    beta1: float = hyperparameter(0.9, "Adam's decay rate of the first moment", minimum=0, below=1)
    beta2: float = hyperparameter(0.999, "Adam's decay rate of the second moment", minimum=0, below=1)
    gradient_clip: float = hyperparameter(1.0, "largest gradient norm of each sub-network", positive=True)
    dropout: float = hyperparameter(0.3, "dropout rate of the classifier", minimum=0, below=1)

    def __post_init__(self) -> None:
        for item in hyperparameters_of(type(self)):
            object.__setattr__(self, item.name, item.accept(getattr(self, item.name)))
