"""A clip is an utterance as it was recorded; recordings are the clips of a raw corpus with what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ifmmin.data.audit import Finding


@dataclass(frozen=True)
class Clip:
    """An utterance: files, or parts of them, and a transcript.

    Attributes:
        utterance: its name.
        audio: the file of its sound; where there is none, that of its pictures may have sound.
        video: the file of its pictures.
        text: the transcript.
        start: where it begins in its files, in seconds; None for their beginning.
        end: where it ends, in seconds; None for their end.
        crop: the half of the picture that shows the speaker; None for all of it.
        audio_is_cut: whether the file of its sound has this utterance alone, so that times hold for its pictures only.
    """

    utterance: str
    audio: Path | None = None
    video: Path | None = None
    text: str | None = None
    start: float | None = None
    end: float | None = None
    crop: Literal["left", "right"] | None = None
    audio_is_cut: bool = False

    def heard(self) -> "Clip":
        """The clip with the times that hold for its sound."""
        return replace(self, start=None, end=None) if self.audio is not None and self.audio_is_cut else self


@dataclass(frozen=True)
class Recordings:
    """A raw corpus.

    Attributes:
        clips: its utterances.
        columns: what is known of each, by name: label, speaker, session, dialogue, turn, set and others; text that is
            empty where it is not known.
        classes: the names of the classes in their order; None for those of the labels, sorted.
        about: the layout, the licence, and what was merged or left out.
        findings: for the audit.
    """

    clips: tuple[Clip, ...]
    columns: Mapping[str, list[str]] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    about: str = ""
    findings: tuple[Finding, ...] = ()
