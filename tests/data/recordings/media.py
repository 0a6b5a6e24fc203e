"""Small recordings for tests: sounds, pictures and files of many formats, made by PyAV."""

import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.recordings.clip import Clip

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
        if pictures is not None:
            video: Any = container.add_stream(video_codec, rate=fps)
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuvj420p" if video_codec == "mjpeg" else "yuv420p"
            video.bit_rate = 4_000_000
            video.time_base = Fraction(1, fps)
        if samples is not None:
            audio: Any = container.add_stream(audio_codec, rate=rate)
            audio.layout = "mono"
        for number, shown in enumerate(pictures or []):
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        if pictures is not None:
            container.mux(video.encode(None))
        if samples is not None:
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def broken(folder: Path) -> dict[str, Clip]:
    """Clips that cannot be used, each with the beginning of the reason."""
    whole = write_wav(folder / "whole.wav", tone(3))
    video = write_media(folder / "whole.mp4", samples=tone(3), pictures=[picture(1)] * 30)
    silent_video = write_media(folder / "pictures.mp4", pictures=[picture(1)] * 30)
    files = {
        "is empty: its file has 0 bytes": b"",
        "is cut off: 1.25 s of 3.00 s": whole.read_bytes()[:40_000],
        "cannot be read": video.read_bytes()[:2_000],
        "cannot be read (Invalid data": b"this is a text and no recording" * 100,
        "is a pointer of git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    }
    clips = {}
    for number, (why, content) in enumerate(files.items()):
        path = folder / f"broken{number}{'.mp4' if number == 2 else '.wav'}"
        path.write_bytes(content)
        clips[why] = Clip("u", audio=path)
    with wave.open(str(folder / "none.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
    sine = write_media(folder / "cut.mkv", samples=tone(3), pictures=[picture(1)] * 30)
    (folder / "damaged.flac").write_bytes(b"fLaC" + bytes(2_000))
    return clips | {
        "cannot be read (Invalid data found when processing input); its file is damaged": Clip(
            "u", audio=folder / "damaged.flac"
        ),
        "is too short: 0.010 s of sound": Clip("u", audio=write_wav(folder / "short.wav", tone(0.01))),
        "is too short: 0.005 s of sound": Clip("u", video=sine, start=1, end=1.005),
        "has no sound": Clip("u", audio=folder / "none.wav"),
        "has no audio track": Clip("u", video=silent_video),
        "is silent": Clip("u", audio=write_wav(folder / "silent.wav", np.zeros(RATE, np.float32))),
        "is missing": Clip("u", audio=folder / "missing.wav"),
        "is missing or cannot be opened (Is a directory)": Clip("u", audio=folder),
        "begins at 5 s, and its file ends at 3": Clip("u", audio=whole, start=5, end=6),
        "is cut off: 3": Clip("u", audio=whole, start=2, end=9),
        "ends before it begins: from 2 s to 1 s": Clip("u", audio=whole, start=2, end=1),
    }
