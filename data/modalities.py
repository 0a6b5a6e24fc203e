"""Modalities: what a corpus' features are of, and how each is encoded. A corpus has one to six, in an order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from ifmmin.data.errors import CorpusError, nearest

Encoder: TypeAlias = Literal["lstm", "textcnn", "linear"]
ENCODERS: tuple[Encoder, ...] = get_args(Encoder)

MOST = 6
"""As many modalities as a corpus can have: 63 conditions."""


@dataclass(frozen=True)
class Modality:
    """One modality of a corpus.

    Attributes:
        letter: names it in conditions, files and tables, one of a to z.
        title: what it is, as in `acoustic`.
        encoder: `lstm` for frames, `textcnn` for tokens, `linear` for one vector an utterance.
        standardised: whether its features are standardised with the training statistics of each fold.

    Raises:
        CorpusError: the letter, the title or the encoder is not valid.
    """

    letter: str
    title: str
    encoder: Encoder = "lstm"
    standardised: bool = False

    def __post_init__(self) -> None:
        if len(self.letter) != 1 or not ("a" <= self.letter <= "z"):
            raise CorpusError(f"'{self.letter}' cannot name a modality; use one letter from a to z.")
        if not self.title.strip():
            raise CorpusError(f"Modality {self.letter} has no title; give it one, such as acoustic.")
        if self.encoder not in ENCODERS:
            raise CorpusError(f"Modality {self.letter}: no encoder '{self.encoder}'; {nearest(self.encoder, ENCODERS)}")


AVT = (
    Modality("a", "acoustic", "lstm", standardised=True),
    Modality("v", "visual", "lstm"),
    Modality("t", "textual", "textcnn"),
)
"""The modalities of the layouts that have these three: speech, face and transcript."""


def check_modalities(modalities: Sequence[Modality]) -> None:
    """Check the modalities of a corpus.

    Raises:
        CorpusError: there are none or too many, or two share a letter.
    """
    letters = letters_of(modalities)
    if not 1 <= len(letters) <= MOST:
        raise CorpusError(f"A corpus has 1 to {MOST} modalities, not {len(letters)}; choose among them.")
    twice = [letter for letter in letters if letters.count(letter) > 1]
    if twice:
        raise CorpusError(f"Two modalities are called {twice[0]}; give each a letter of its own.")


def parse_modalities(text: str) -> list[tuple[str, Modality | None]]:
    """Letters and modalities from text, `LETTER[:TITLE[:ENCODER[:standardised]]]`, separated by commas.

    Of a letter alone only the letter is known; with a title alone, those of `AVT` are encoded as there.

    >>> parse_modalities("a,p:physiological:linear:standardised")[1][1].encoder
    'linear'

    Raises:
        CorpusError: a part has another form, or a modality is not valid.
    """
    parsed: list[tuple[str, Modality | None]] = []
    for part in text.split(","):
        letter, *rest = (piece.strip() for piece in part.split(":"))
        if len(rest) > 3 or (len(rest) == 3 and rest[2] != "standardised"):
            raise CorpusError(f"'{part}' is not a modality; write LETTER:TITLE:ENCODER, and :standardised if it is.")
        usual = next((modality for modality in AVT if modality.letter == letter), Modality("x", "x", standardised=True))
        if not rest:
            Modality(letter, letter)  # which refuses what is not a letter
            parsed.append((letter, None))
        elif len(rest) == 1:
            parsed.append((letter, replace(usual, letter=letter, title=rest[0])))
        else:
            parsed.append((letter, Modality(letter, rest[0], rest[1], standardised=len(rest) == 3)))  # type: ignore[arg-type]
    return parsed


def letters_of(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """Their letters, in their order."""
    return tuple(modality.letter for modality in modalities)
