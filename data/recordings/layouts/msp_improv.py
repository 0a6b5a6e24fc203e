"""MSP-IMPROV.

Evalution.txt (so spelt in releases), or Evaluation.txt      label of each utterance, which it calls UTD-IMPROV-…
session[1-6]/SCENE/[PRST]/MSP-IMPROV-….wav                   the sound, .avi beside it or elsewhere
All_human_transcriptions/MSP-IMPROV-….txt                    what was said, beside the labels

A name has the scene with its sentence and intended emotion, the speaker (the digit is the session), the kind (R read,
S the sentence in an improvisation, T the rest of it, P between recordings), the pair and the turn. Utterances that are
labelled as something else (O), or without a majority (X), have no label.
"""

import re
from pathlib import Path

from ifmmin.data.errors import CorpusError
from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts.gather import (
    PICTURES,
    SOUND,
    Row,
    by_stem,
    children,
    gather,
    read_text,
    unlabelled,
    without_file,
)

LICENCE = "MSP-IMPROV (Busso et al., 2017), under the licence of the MSP lab, University of Texas at Dallas"
CLASSES = {"A": "angry", "H": "happy", "N": "neutral", "S": "sad"}

_LABELS = ("evalution.txt", "evaluation.txt")
_LABEL = re.compile(
    r"^(?:UTD|MSP)-IMPROV-(?P<name>(?P<scene>S\d\d)(?P<intended>[AHSN])-(?P<speaker>[FM]0(?P<session>[1-6]))-"
    r"(?P<kind>[PRST])-(?P<pair>[FM]{2})(?P<turn>\d\d))\.avi;\s*(?P<label>[AHSNOX]);\s*"
    r"A:(?P<activation>[\d.]+|NaN);\s*V:(?P<valence>[\d.]+|NaN);\s*D:(?P<dominance>[\d.]+|NaN)",
    re.MULTILINE,
)


def recognises(folder: Path) -> bool:
    """Whether a folder has the labels and names of this corpus."""
    labels = _labels(folder)
    return labels is not None and _LABEL.search(read_text(labels)) is not None


def read(folder: Path) -> Recordings:
    """The utterances, in the order of their names.

    Raises:
        CorpusError: there are none.
    """
    labels = _labels(folder)
    if labels is None:
        raise CorpusError(f"{folder} has no Evalution.txt; it must list the labels.")
    matches = {match["name"]: match for match in _LABEL.finditer(read_text(labels))}
    sound, pictures = (by_stem(folder, suffixes, deep=True) for suffixes in (SOUND, PICTURES))
    words = by_stem(labels.parent / "All_human_transcriptions", (".txt",), deep=True)
    rows, lacking = [], []
    for name, match in sorted(matches.items()):
        file = f"MSP-IMPROV-{name}"
        if file not in sound and file not in pictures:
            lacking.append(file)
            continue
        text = read_text(words[file]).strip() if file in words else None
        rows.append(Row(Clip(file, sound.get(file), pictures.get(file), text), _known(match)))
    findings = [*unlabelled(rows, "O (other) or X (no majority)"), *without_file(len(matches), lacking, "recording")]
    return gather(folder, rows, f"MSP-IMPROV from its recordings. {LICENCE}", findings=findings)


def _labels(folder: Path) -> Path | None:
    files = [*children(folder, "*.txt"), *children(folder, "*/*.txt")]
    return next((file for file in files if file.name.lower() in _LABELS), None)


def _known(match: "re.Match[str]") -> dict[str, str]:
    scales = {scale: match[scale] for scale in ("activation", "valence", "dominance") if match[scale] != "NaN"}
    scene = f"{match['scene']}{match['intended']}"
    together = {"S": "", "T": "", "P": "-P"}.get(match["kind"])
    dialogue = None if together is None else f"session{match['session']}-{scene}-{match['pair']}{together}"
    return {
        "label": CLASSES.get(match["label"], ""),
        "speaker": match["speaker"],
        "gender": "female" if match["speaker"][0] == "F" else "male",
        "session": match["session"],
        **({"dialogue": dialogue, "turn": str(int(match["turn"]))} if dialogue else {}),
        "kind": match["kind"],
        "sentence": match["scene"],
        "intended": CLASSES[match["intended"]],
        **scales,
    }
