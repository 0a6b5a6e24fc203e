"""EmoDB, the Berlin database of emotional speech: actors who say ten sentences in seven moods. There are no pictures.

wav/SPEAKER SENTENCE MOOD VERSION.wav (or wav_corpus)   such as 03a01Fa.wav

The sentences are the same in all moods.
"""

import re
from pathlib import Path

from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts.gather import Row, by_stem, gather

LICENCE = "EmoDB (Burkhardt et al., 2005), CC0"
CLASSES = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
"""By the first letters of their German names."""

MEN = ("03", "10", "11", "12", "15")
WOMEN = ("08", "09", "13", "14", "16")

_FOLDERS = ("wav", "wav_corpus", ".")
_NAME = re.compile(r"^(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<mood>[WLEAFTN])(?P<version>[a-z]?)$")


def recognises(folder: Path) -> bool:
    """Whether a folder has sound that is called so, and nothing else."""
    sound = _sound(folder)
    return bool(sound) and all(map(_NAME.match, sound))


def read(folder: Path) -> Recordings:
    """The clips, in the order of their names.

    Raises:
        CorpusError: there are none.
    """
    rows = []
    for name, file in sorted(_sound(folder).items()):
        if match := _NAME.match(name):
            gender = "male" if match["speaker"] in MEN else "female" if match["speaker"] in WOMEN else ""
            known = {"label": CLASSES[match["mood"]], "speaker": match["speaker"], "gender": gender}
            known |= {"sentence": match["sentence"], "version": match["version"]}
            rows.append(Row(Clip(name, file), known))
    return gather(folder, rows, f"EmoDB from its recordings. {LICENCE}")


def _sound(folder: Path) -> dict[str, Path]:
    return next((sound for name in _FOLDERS if (sound := by_stem(folder / name, (".wav",)))), {})
