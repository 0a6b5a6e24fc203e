"""A stage: one step of a run, everything its result depends on, and the result itself. Plain values."""

import hashlib
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.conditions import Condition
from ifmmin.model.hyperparameters import HyperparameterValue

KEY_FORMAT = 1
_FIRST_WORDS = {"definition": "recipe", "hyperparameters": "parameters"}
"""The names in the first stores. Keys still use them, so that those stores stay readable."""

Precision = Literal["float32", "bfloat16"]

EVERY_MODALITY = "all"
"""Stands for the modalities that a configuration's `train_missing` does not name."""


@dataclass(frozen=True)
class Stage:
    """One step of a run, and everything its result depends on.

    Attributes:
        key: hash of all the other attributes but `name`; the same wherever the same result is needed.
        name: the name of the stage within its run: pretrain, train, evaluate.
        action: whether the network of the definition is trained or evaluated.
        definition: which network and losses, see `model.systems.DEFINITIONS`.
        version: of the code that the result comes from, see `planning.catalogue`.
        corpus: fingerprint.
        hyperparameters: those it reads.
        upstream: keys of the stages whose weights it needs, by their names within the run; for an evaluation, every
            network that it evaluates.
        condition: whose network is trained, where the definition has one for each condition.
        train_missing: by modality the rate at which it is removed from training utterances; None if nothing is, and
            for an evaluation.
        protocol: under which an evaluation is made, see `model.protocols.PROTOCOLS`; none for the fixed conditions.
    """

    key: str
    name: str
    action: Literal["train", "evaluate"]
    definition: str
    version: int | str
    corpus: str
    fold: int
    seed: int
    precision: Precision
    hyperparameters: Mapping[str, HyperparameterValue]
    upstream: Mapping[str, str]
    condition: Condition | None = None
    protocol: str | None = None
    train_missing: Mapping[str, float] | None = None

    @classmethod
    def of(cls, name: str, content: Mapping[str, Any]) -> "Stage":
        """A stage with its key, from all other attributes."""
        hashed = {_FIRST_WORDS.get(word, word): value for word, value in content.items()}
        hashed["upstream"] = list(content["upstream"].values())
        text = json.dumps({"format": KEY_FORMAT, **hashed}, sort_keys=True)
        return cls(key=hashlib.sha256(text.encode()).hexdigest()[:24], name=name, **content)

    @classmethod
    def recorded(cls, content: Mapping[str, Any]) -> "Stage":
        """A stage as a store keeps it, with today's names or those of the first stores."""
        read = dict(content)
        for word, first in _FIRST_WORDS.items():
            if first in read:
                read[word] = read.pop(first)
        if isinstance(read["upstream"], list):
            read["upstream"] = {str(number): key for number, key in enumerate(read["upstream"])}
        return cls(**read)

    @property
    def kind(self) -> Hashable:
        """A value that is equal for stages that differ in fold and seed only."""
        differing = {"key", "name", "fold", "seed", "upstream", "hyperparameters", "train_missing"}
        others = tuple(value for name, value in vars(self).items() if name not in differing)
        return others, tuple(self.hyperparameters.items()), tuple((self.train_missing or {}).items())

    @property
    def epochs(self) -> int:
        """Epochs that the stage trains; 0 for an evaluation."""
        return int(self.hyperparameters["epochs"]) if self.action == "train" else 0


@dataclass(frozen=True)
class StageResult:
    """The result of a stage: weights and history of a trained network, or the predictions of an evaluation.

    Attributes:
        weights: of the network by name; empty for an evaluation.
        tables: `history` (a row for each epoch) or `predictions` (a row for each test utterance and condition).
        seconds: computing time with that of a resumed attempt; its share if several stages trained as one.
    """

    weights: Mapping[str, NDArray[np.float32]]
    tables: Mapping[str, pa.Table]
    seconds: float
