"""Modalities and conditions: which modalities of an utterance are available."""

from enum import StrEnum
from typing import Literal

Modality = Literal["a", "v", "t"]

MODALITIES: tuple[Modality, ...] = ("a", "v", "t")
"""Acoustic, visual, textual: the order in which features are concatenated everywhere."""


class Condition(StrEnum):
    """A set of available modalities, written with the paper's letters in the order a, v, t.

    >>> Condition("av").available, Condition("av").missing
    (('a', 'v'), ('t',))
    >>> Condition("t").mask
    (False, False, True)
    """

    A = "a"
    V = "v"
    T = "t"
    AV = "av"
    AT = "at"
    VT = "vt"
    AVT = "avt"

    @property
    def available(self) -> tuple[Modality, ...]:
        """The available modalities, in the order a, v, t."""
        return tuple(m for m in MODALITIES if m in self.value)

    @property
    def missing(self) -> tuple[Modality, ...]:
        """The missing modalities, in the order a, v, t."""
        return tuple(m for m in MODALITIES if m not in self.value)

    @property
    def mask(self) -> tuple[bool, bool, bool]:
        """True where a modality is available, in the order a, v, t."""
        a, v, t = (m in self.value for m in MODALITIES)
        return a, v, t


MISSING_CONDITIONS: tuple[Condition, ...] = (
    Condition.A,
    Condition.V,
    Condition.T,
    Condition.AV,
    Condition.AT,
    Condition.VT,
)
"""The six conditions in which a modality is missing (Zuo et al., ICASSP 2023), in the order of its Table 1."""

FULL_CONDITION = Condition.AVT
"""The condition in which all modalities are available."""

ALL_CONDITIONS: tuple[Condition, ...] = (*MISSING_CONDITIONS, FULL_CONDITION)
