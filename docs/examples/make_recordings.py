"""Makes `synthetic-speech` and `synthetic-speech-held-out`: recordings of people who do not exist.

With them the way from recordings to predictions can be tried. Voices are those of espeak-ng where it is installed,
and else made here; faces are drawn. Moods are in the prosody, the face and, for half of the sentences, the words;
each of them is sometimes that of another mood.
"""

import csv
import io
import shutil
import subprocess
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import read_frames
from ifmmin.data.recordings.extractors import Extractor

FOLDERS = {"synthetic-speech": range(5), "synthetic-speech-held-out": range(5, 6)}
"""And their speakers."""

RATE, FPS, SIDE = 16_000, 10, 96
MISLEADING = 0.15
"""How often sound, face or words are those of another mood."""

MOODS = {  # pitch, its range, its trend, loudness, syllables a second; brows, corners of the mouth
    "angry": (1.25, 0.12, -0.1, 1.0, 6.5, 1.0, -0.6),
    "happy": (1.30, 0.30, 0.1, 0.7, 5.5, -0.6, 1.0),
    "neutral": (1.00, 0.06, -0.1, 0.5, 5.0, 0.0, 0.0),
    "sad": (0.85, 0.04, -0.25, 0.3, 3.5, -0.9, -0.8),
}
SENTENCES = ("the train leaves at seven", "your letter is on the table", "we meet at the old bridge")
WORDS = {
    "angry": ("this is an outrage", "stop it right now", "I will not take this any more"),
    "happy": ("what a wonderful day", "I love this song", "we won the game"),
    "neutral": ("the office opens at nine", "turn left at the corner", "it is made of wood"),
    "sad": ("I miss her so much", "nobody came to see me", "all is lost and gone"),
}
VOWELS = {"a": (800, 1200), "e": (500, 1900), "i": (300, 2300), "o": (450, 850), "u": (320, 800), "y": (300, 2100)}
"""The first two formants, in Hz."""


class Sketch(Extractor):
    """How dark the middle of a picture is beside the skin, at 12 by 12 points: enough for drawn faces.

    `--extract v=make_recordings.py:Sketch` uses it.
    """

    name = "sketch"
    version = "1"
    reads = "video"
    dimension = 12 * 12
    rate = 10.0
    licence = "MIT"

    def extract(self, clip: Clip) -> NDArray[np.float32]:
        """Ten pictures a second; 0 is as bright as the skin, 1 is black."""
        frames = []
        for _, picture in read_frames(clip, self.rate):
            height, width = (round(side / 20) for side in picture.shape[:2])  # of a point
            top, left = (picture.shape[0] - 12 * height) // 2, (picture.shape[1] - 12 * width) // 2
            grey = picture[top : top + 12 * height, left : left + 12 * width].mean(2)
            dark = np.clip(1 - grey / np.median(grey), 0, 1)
            frames.append(dark.reshape(12, height, 12, width).mean((1, 3)).ravel())
        return np.array(frames, np.float32)


def say(text: str, mood: str, speaker: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Speech, (samples,), by espeak-ng or, without it, by a voice of a source and two formants."""
    pitch, span, trend, loudness, speed = MOODS[mood][:5]
    if shutil.which("espeak-ng"):
        voice = f"en+{'m' if speaker % 2 else 'f'}{1 + speaker // 2}"
        options = ["-p", str(round(45 * pitch)), "-s", str(round(32 * speed)), "-a", str(round(150 * loudness))]
        done = subprocess.run(["espeak-ng", "-v", voice, *options, "--stdout", text], capture_output=True, check=True)
        return from_wave(done.stdout)
    base = (110 + 12 * speaker if speaker % 2 else 190 + 12 * speaker) * pitch
    vowels = [letter for letter in text.lower() if letter in VOWELS]
    parts = []
    for place, vowel in enumerate(vowels):
        count = round(RATE / speed * rng.uniform(0.8, 1.2))
        time = np.arange(count) / count
        along = (place + time) / len(vowels)
        hertz = base * (1 + trend * along + span * np.sin(2 * np.pi * (1.5 * along + 0.1 * speaker)))
        phase = 2 * np.pi * np.cumsum(hertz) / RATE
        formants = [formant * (0.92 if speaker % 2 else 1.08) for formant in VOWELS[vowel]]
        harmonics = np.arange(1, 25)[:, None]
        strength = sum(np.exp(-(((harmonics * hertz - formant) / 150) ** 2)) for formant in formants) + 0.02
        swell = np.sin(np.pi * time) ** 0.5
        parts.append((strength * np.sin(harmonics * phase)).sum(0) * swell)
        parts.append(rng.normal(0, 0.3, count // 5))  # a consonant
    sound = np.concatenate(parts)
    return np.asarray(0.6 * loudness * sound / np.abs(sound).max() + rng.normal(0, 0.003, len(sound)), np.float32)


def from_wave(content: bytes) -> NDArray[np.float32]:
    """The samples of a wave file, at the common rate."""
    with wave.open(io.BytesIO(content)) as file:
        rate, frames = file.getframerate(), file.readframes(2**31 - 1)
    samples = np.frombuffer(frames, np.int16).astype(np.float32) / 2**15
    times = np.arange(round(len(samples) * RATE / rate)) * rate / RATE
    return np.interp(times, np.arange(len(samples)), samples).astype(np.float32)


def draw(mood: str, speaker: int, loudness: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A face, (height, width, 3), whose mouth is as open as it is loud."""
    brows, corners = MOODS[mood][5:]
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE * 2 - 1
    x, y = x - rng.normal(0, 0.02), y - rng.normal(0, 0.02)  # nobody sits still
    picture = np.full((SIDE, SIDE), 40.0)
    picture[(x / (0.7 + 0.03 * speaker)) ** 2 + (y / 0.9) ** 2 < 1] = 150 + 15 * speaker
    for side in (-1, 1):
        picture[(x - 0.3 * side) ** 2 + (y + 0.2) ** 2 < 0.09**2] = 20
        brow = -0.42 + 0.35 * brows * (0.3 - side * x) * 1.2
        picture[(np.abs(y - brow) < 0.05) & (np.abs(x - 0.3 * side) < 0.2)] = 20
    middle = 0.45 - 0.9 * corners * (x**2 - 0.05)
    picture[(np.abs(y - middle) < 0.04 + 0.12 * loudness) & (np.abs(x) < 0.35)] = 20
    return np.repeat(np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)[..., None], 3, 2)


def record(path: Path, sound: NDArray[np.float32], pictures: list[NDArray[np.uint8]]) -> None:
    """Write an MP4 file."""
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("mpeg4", rate=FPS), container.add_stream("aac", rate=RATE)
        video.width = video.height = SIDE
        video.pix_fmt, video.bit_rate, video.time_base = "yuv420p", 500_000, Fraction(1, FPS)
        audio.layout = "mono"
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        for first in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, first : first + 1024], "fltp", "mono")
            frame.rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
            container.mux(audio.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode())


def perform(folder: Path, speaker: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """Record all that a speaker says in each mood; returns the rows of the table."""
    rows = []
    for mood in MOODS:
        others = [other for other in MOODS if other != mood]
        for number, text in enumerate((*SENTENCES, *WORDS[mood])):
            heard, seen, meant = (mood if rng.random() > MISLEADING else str(rng.choice(others)) for _ in range(3))
            text = text if meant == mood or text in SENTENCES else WORDS[meant][number - len(SENTENCES)]
            sound = say(text, heard, speaker, rng)
            loud = [np.abs(sound[first : first + RATE // FPS]).mean() for first in range(0, len(sound), RATE // FPS)]
            pictures = [draw(seen, speaker, value / max(loud), rng) for value in loud]
            name = f"speaker{speaker}-{mood}-{number}"
            record(folder / f"{name}.mp4", sound, pictures)
            rows.append({"utterance": name, "label": mood, "speaker": f"speaker{speaker}", "text": text})
    return rows


def write_table(folder: Path, rows: list[dict[str, str]]) -> None:
    """Write `recordings.csv`."""
    with (folder / "recordings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Make the recordings of all speakers."""
    for name, speakers in FOLDERS.items():
        folder = Path(name)
        (folder / "video").mkdir(parents=True, exist_ok=True)
        performed = [perform(folder / "video", speaker, np.random.default_rng(speaker)) for speaker in speakers]
        write_table(folder, [row for rows in performed for row in rows])
        print(f"Wrote {sum(map(len, performed))} synthetic recordings, of nobody, to {folder}.")  # noqa: T201


if __name__ == "__main__":
    main()
