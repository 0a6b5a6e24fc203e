"""Small recordings for tests: sounds, pictures and files of many formats, made by PyAV."""

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16_000


def tone(seconds: float, rate: int = RATE, pitch: float = 220.0, seed: int = 0) -> NDArray[np.float32]:
    """A voice of sorts: harmonics that swell, and some noise, float32 (samples,)."""
    time = np.arange(round(seconds * rate)) / rate
    voice = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    return np.asarray(0.2 * voice * (1 + np.sin(2 * np.pi * 1.5 * time)) / 2 + noise, np.float32)


def write_wav(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
    """16 bits; (samples,), or (samples, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.int16(np.clip(samples, -1, 32767 / 32768) * 32768).tobytes())
    return path


def picture(number: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """A picture that shows its number: the brightness of its left half is ten times that, its right half is black."""
    shown = np.zeros((height, width, 3), np.uint8)
    shown[:, : width // 2] = min(250, 10 * number)
    return shown


def write_media(
    path: Path,
    *,
    samples: NDArray[np.float32] | None = None,
    pictures: list[NDArray[np.uint8]] | None = None,
    rate: int = RATE,
    fps: int = 10,
    audio_codec: str = "aac",
    video_codec: str = "mpeg4",
) -> Path:
    """A file with sound, pictures or both; the format is that of its suffix."""
    import av

    with av.open(str(path), "w") as container:
        video = audio = None
        if pictures is not None:
            video = container.add_stream(video_codec, rate=fps)
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuvj420p" if video_codec == "mjpeg" else "yuv420p"
            video.bit_rate = 4_000_000
            video.time_base = Fraction(1, fps)
        if samples is not None:
            audio = container.add_stream(audio_codec, rate=rate)
            audio.layout = "mono"
        for number, shown in enumerate(pictures or []):
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if samples is not None:
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path
