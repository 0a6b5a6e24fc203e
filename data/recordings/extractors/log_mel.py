"""`log-mel`: the energy in bands of the mel scale, computed here. The default for sound."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import RecordingError, Samples, read_audio, resample
from ifmmin.data.recordings.extractors.extractor import Extractor, Features

RATE = 16_000
WINDOW, HOP, SIZE = 400, 160, 512
"""25 ms and 10 ms of sound, and the length of its transform."""

BANDS = 80
AVERAGED = 10
"""Windows that make a frame."""

FLOOR = 1e-10
AT_ONCE = 6000
"""Windows that are transformed together, a minute of sound; a frame never lies in two parts."""


class LogMel(Extractor):
    """80 bands of the mel scale (O'Shaughnessy, 1987) from 0 to 8 kHz; the mean logarithm of ten windows of 10 ms."""

    name = "log-mel"
    version = "1"
    reads = "audio"
    dimension = BANDS
    rate = 10.0
    licence = "MIT"
    packages = ("av", "scipy")

    def extract(self, clip: Clip) -> Features:
        """Ten frames a second; the last stands for what is left."""
        samples, rate = read_audio(clip)
        samples = resample(samples, rate, RATE)
        if len(samples) < WINDOW:
            raise RecordingError(f"is too short: {len(samples) / RATE:.3f} s of sound, log-mel needs 0.025 s")
        windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
        parts = [_frames(windows[first : first + AT_ONCE]) for first in range(0, len(windows), AT_ONCE)]
        return np.concatenate(parts)


def _frames(windows: Samples) -> Features:
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1], SIZE)) ** 2
    bands = np.log(np.maximum(power @ mel_bands().T, FLOOR))
    starts = np.arange(0, len(bands), AVERAGED)
    counts = np.diff([*starts, len(bands)])[:, None]
    return np.asarray(np.add.reduceat(bands, starts) / counts, np.float32)


@lru_cache(maxsize=1)
def mel_bands() -> NDArray[np.float64]:
    """Triangles, equally wide on the mel scale, (bands, frequencies)."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    frequencies = np.linspace(0, RATE / 2, SIZE // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))
