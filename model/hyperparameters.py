"""Hyperparameters every trained stage has. What a system adds stands in its own file."""

from dataclasses import dataclass, field, fields
from typing import Any

from ifmmin.data.errors import UserError


def hyperparameter(
    default: Any, meaning: str, *, minimum: float | None = None, below: float | None = None, positive: bool = False
) -> Any:
    """A hyperparameter with its default, its meaning for people, and its bounds: minimum <= value < below."""
    bounds = {"minimum": minimum, "below": below, "positive": positive}
    return field(default=default, metadata={"meaning": meaning, **bounds})


@dataclass(frozen=True, kw_only=True)
class TrainingHyperparameters:
    """How a network is trained: Adam, its learning rate constant at first and then decaying linearly.

    Raises:
        UserError: a value is out of its bounds.
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
        for item in fields(self):
            value, bounds = getattr(self, item.name), item.metadata
            if bounds["minimum"] is not None and not value >= bounds["minimum"]:
                raise UserError(f"{item.name} is {value}; it must be at least {bounds['minimum']}.")
            if bounds["below"] is not None and not value < bounds["below"]:
                raise UserError(f"{item.name} is {value}; it must be below {bounds['below']}.")
            if bounds["positive"] and not 0 < value < float("inf"):
                raise UserError(f"{item.name} is {value}; it must be above 0 and finite.")

    def learning_rate_factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by at a 0-based epoch."""
        decaying = max(0, self.epochs - self.constant_epochs)
        return 1 - max(0, epoch + 1 - self.constant_epochs) / (decaying + 1)
