"""A synthetic corpus in the shape of IEMOCAP, whose best possible accuracy in each condition is known.

An utterance of class y has a latent vector of three coordinates for each modality,

    z_m = sqrt(rho) s + sqrt(1 - rho) p_m,

where s is shared by the modalities and p_m is specific to one, both Gaussian with unit variance around means that
depend on y. So a missing modality can partly be inferred, and partly not. Every informative frame shows z_m in three
directions of the feature space, under isotropic Gaussian noise; all else (speaker, offsets, lengths, lost faces) is
independent of y or lies in other directions. So the information of a modality on y is the mean of its frames in those
directions, Gaussian given y with a known covariance, and the Bayes classifier can be written down and measured.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.conditions import Condition, all_conditions, mask_of
from ifmmin.data.corpus import Corpus, Fold, Sequences
from ifmmin.data.errors import CorpusError
from ifmmin.data.modalities import AVT, letters_of

LETTERS = letters_of(AVT)
CLASSES = ("angry", "happy", "neutral", "sad")
SHARES = np.array([1103, 1636, 1708, 1084]) / 5531
DIMENSIONS: dict[str, int] = {"a": 130, "v": 342, "t": 1024}
UTTERANCES = 5531

COORDINATES = 3
SHARED_VARIANCE = 0.5
SHARED_SPREAD = 1.3
"""How far apart the classes are in the shared latent state, in standard deviations from their centre."""
SPECIFIC_SPREAD: dict[str, float] = {"a": 1.4, "v": 1.2, "t": 0.6}
TURN: dict[str, int] = {"a": 1, "v": 2, "t": 0}
"""The classes of a modality's specific state are rotated, so that each modality confuses other classes."""
FRAME_NOISE: dict[str, float] = {"a": 0.6, "v": 0.3, "t": 0.25}
SPEAKER_SPREAD = 0.05
VIDEO_FRAMES, TOKENS = 50, 22
NO_FACE, LOST_FRAMES = 0.04, 0.15
DRAWS = 400_000
"""Utterances drawn to measure the accuracy of the Bayes classifier to within 0.001."""


def synthesise(
    name: str = "synthetic",
    *,
    utterances: int = UTTERANCES,
    dimensions: Mapping[str, int] = DIMENSIONS,
    seed: int = 0,
) -> Corpus:
    """Draw a corpus: ten speakers in five sessions, ten speaker-independent folds, ragged features.

    Raises:
        CorpusError: there are too few utterances or features for this.
    """
    if utterances < 200:
        raise CorpusError(f"--utterances is {utterances}; ten folds with four classes need at least 200.")
    if min(dimensions.values()) < COORDINATES + 1:
        raise CorpusError(f"--dimensions must all be at least {COORDINATES + 1}.")
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), utterances, p=SHARES)
    speakers = np.sort(rng.integers(10, size=utterances))
    informative = _informative_frames(rng, utterances)
    latents = _draw_latents(rng, labels)
    sequences = {
        m: _render(rng, m, dimensions[m], latents[:, i], informative[m], speakers) for i, m in enumerate(LETTERS)
    }
    shown = {m: np.array([flags.sum() for flags in informative[m]]) for m in LETTERS}
    sessions = [f"session {speaker // 2 + 1}" for speaker in speakers]
    table = pa.table(
        {
            "utterance": [f"u{i:05}" for i in range(utterances)],
            "label": labels.astype(np.int64),
            "speaker": [f"speaker {speaker + 1}" for speaker in speakers],
            "session": sessions,
            "gender": ["female" if speaker % 2 == 0 else "male" for speaker in speakers],
        }
    )
    return Corpus(
        name=name,
        classes=CLASSES,
        utterances=table,
        sequences=sequences,
        folds=_folds(speakers),
        modalities=AVT,
        about=f"Synthetic, shaped like IEMOCAP, seed {seed}. The best possible accuracy in each condition is known.",
        best=best_accuracy(shown),
    )


def best_accuracy(shown: Mapping[str, NDArray[np.int64]], seed: int = 0) -> dict[str, float]:
    """Accuracy of the Bayes classifier in each condition, estimated from draws (standard error below 0.001).

    Args:
        shown: for each modality, how many informative frames each utterance has, (utterances,).
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(shown["a"]), size=DRAWS)
    labels = rng.choice(len(CLASSES), DRAWS, p=SHARES)
    frames = np.stack([shown[m][rows] for m in LETTERS], 1)
    noise = np.array([FRAME_NOISE[m] ** 2 for m in LETTERS]) / np.maximum(frames, 1)
    observed = _draw_latents(rng, labels)
    observed += np.sqrt(noise)[..., None] * rng.standard_normal(observed.shape)
    return {
        str(condition): float((_classify(condition, observed, noise, frames) == labels).mean())
        for condition in all_conditions(LETTERS)
    }


def _classify(
    condition: Condition, observed: NDArray[np.float64], noise: NDArray[np.float64], frames: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The most probable class of each utterance given the frames' means, (draws, 3, coordinates)."""
    # A modality that is missing or shows nothing gets so large a covariance that it has no weight.
    unseen = ~np.array(mask_of(condition, LETTERS)) | (frames == 0)
    covariance = SHARED_VARIANCE + (1 - SHARED_VARIANCE) * np.eye(3) + noise[:, :, None] * np.eye(3)
    covariance += np.where(unseen, 1e9, 0.0)[:, :, None] * np.eye(3)
    precision = np.linalg.inv(covariance)
    scores = np.empty((len(observed), len(CLASSES)))
    for label, mean in enumerate(_means()):
        deviation = observed - mean
        scores[:, label] = np.log(SHARES[label]) - 0.5 * np.einsum(
            "nic,nij,njc->n", deviation, precision, deviation, optimize=True
        )
    most_probable: NDArray[np.int64] = scores.argmax(1)
    return most_probable


def _means() -> NDArray[np.float64]:
    """The mean of the latent vectors given the class, (classes, 3, coordinates)."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    specific = np.stack([SPECIFIC_SPREAD[m] * np.roll(corners, TURN[m], axis=1) for m in LETTERS], 1)
    shared = SHARED_SPREAD * corners[:, None]
    means: NDArray[np.float64] = np.sqrt(SHARED_VARIANCE) * shared + np.sqrt(1 - SHARED_VARIANCE) * specific
    return means


def _draw_latents(rng: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The latent vectors z_m of each utterance, (utterances, 3, coordinates)."""
    shared = rng.standard_normal((len(labels), 1, COORDINATES))
    specific = rng.standard_normal((len(labels), 3, COORDINATES))
    latents: NDArray[np.float64] = (
        _means()[labels] + np.sqrt(SHARED_VARIANCE) * shared + np.sqrt(1 - SHARED_VARIANCE) * specific
    )
    return latents


def _informative_frames(rng: np.random.Generator, utterances: int) -> dict[str, list[NDArray[np.bool_]]]:
    """Which frames of each utterance are informative; those of lost faces and the padding of texts are not."""
    seconds = np.clip(np.exp(rng.normal(np.log(36), 0.62, utterances)).astype(int), 8, 350)
    lost = rng.beta(0.5, 0.5 * (1 - LOST_FRAMES) / LOST_FRAMES, utterances)
    lost[rng.random(utterances) < NO_FACE] = 1
    tokens = np.clip(np.exp(rng.normal(np.log(11), 0.6, utterances)).astype(int), 2, TOKENS)
    return {
        "a": [np.ones(length, dtype=bool) for length in seconds],
        "v": list(rng.random((utterances, VIDEO_FRAMES)) >= lost[:, None]),
        "t": list(np.arange(TOKENS) < tokens[:, None]),
    }


def _render(
    rng: np.random.Generator,
    modality: str,
    dimension: int,
    latents: NDArray[np.float64],
    informative: list[NDArray[np.bool_]],
    speakers: NDArray[np.int64],
) -> Sequences:
    """Sequences that show latent vectors, (utterances, coordinates), in some directions and the speaker in others."""
    directions = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0].astype(np.float32)
    shown, other = directions[:, :COORDINATES], directions[:, COORDINATES:]
    habits = SPEAKER_SPREAD * rng.standard_normal((10, other.shape[1])).astype(np.float32) @ other.T
    signal = latents.astype(np.float32) @ shown.T + habits[speakers]
    offset, scale = np.zeros(dimension, np.float32), np.ones(dimension, np.float32)
    if modality == "a":
        offset = rng.normal(0, 20, dimension).astype(np.float32)
        scale = np.exp(rng.normal(0, 1.5, dimension)).astype(np.float32)

    offsets = np.cumsum([0, *(len(flags) for flags in informative)])
    values = np.empty((offsets[-1], dimension), np.float32)
    for index, flags in enumerate(informative):
        frames = values[offsets[index] : offsets[index + 1]]
        rng.standard_normal(out=frames, dtype=np.float32)
        frames *= FRAME_NOISE[modality]
        frames += signal[index]
        frames *= scale
        frames += offset
        frames[~flags] = 0
    return Sequences(values, offsets.astype(np.int64))


def _folds(speakers: NDArray[np.int64]) -> dict[int, Fold]:
    """Fold n tests speaker n, validates on the other speaker of the session, and trains on the other sessions."""
    folds = {}
    for speaker in range(10):
        other = speaker ^ 1
        sets = ((speakers // 2 != speaker // 2), speakers == other, speakers == speaker)
        folds[speaker + 1] = Fold(*(np.flatnonzero(rows).astype(np.int64) for rows in sets))
    return folds
