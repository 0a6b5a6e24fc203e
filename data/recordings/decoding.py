"""Decodes the sound and the pictures of a clip, by PyAV. Many clips of one file are read in one pass, in time's order.

Nothing is sought: where a header counts more frames than there are, as in many AVI files, a seek ends elsewhere.
"""

import math
import struct
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.errors import UserError
from ifmmin.data.folder import reason
from ifmmin.data.recordings.clip import Clip

if TYPE_CHECKING:
    import av

Samples = NDArray[np.float32]
Picture = NDArray[np.uint8]

LOUDEST = 32767 / 32768
"""The largest sample; openSMILE turns samples into 16 bits, where a larger one would wrap around."""

SHORT_BY_S = 0.5
"""Files of different containers differ by up to 0.1 s from what their header says."""

WHOLE = 0.95
"""The part of the length in its header that a file must have to count as whole."""

GUESSED_LENGTH = {"aac", "mp3"}
"""Formats without a length in a header; FFmpeg guesses it from the first frames."""

STREAMED = 2**31
"""A length in the header of a WAV that was written before its length was known is as large as this, or larger."""

KEPT_BYTES = 2**29
"""Of pictures that are kept for clips which overlap with the last one."""


ROUNDING = 1e-6
"""Of times in seconds."""


class RecordingError(UserError):
    """A clip cannot be used; the message is the reason, without the name of the clip."""


class RecordingWarning(UserWarning):
    """Something to know about a clip that can be used."""


def source(clip: Clip, reads: Literal["audio", "video", "text"]) -> Path | str | None:
    """What an extractor reads of a clip: a file, or the transcript; None where there is none."""
    if reads == "text":
        return clip.text
    return clip.audio or clip.video if reads == "audio" else clip.video


def read_audio(clip: Clip) -> tuple[Samples, int]:
    """The sound of a clip, the mean of its channels.

    Returns:
        float32 (samples,) in [-1, 1), and the number of samples a second.

    Raises:
        RecordingError: there is no sound, it cannot be decoded, or it is silent.
    """
    clip, path = clip.heard(), _file(clip, "audio")
    tape = _tape("audio", path, *_version(path))
    samples = np.concatenate([np.zeros(0, np.float32), *tape.between(*_span(clip))])
    rate = tape.rate
    tape.check(clip)
    if not len(samples):
        raise RecordingError("has no sound: its audio track is empty")
    if not np.isfinite(samples).all():
        raise RecordingError("has samples that are not finite")
    if samples.min() == samples.max():
        raise RecordingError(f"is silent: all its samples are {samples[0]:g}")
    return np.clip(samples, -1, LOUDEST), rate


def read_frames(clip: Clip, rate: float) -> Iterator[tuple[float, Picture]]:
    """The pictures of a clip at a fixed rate: each the one that is on the screen at that time.

    Yields:
        Seconds since the beginning of the clip, and the picture, uint8 (height, width, 3) in RGB; the half of it that
        belongs to the clip where it has one.

    Raises:
        RecordingError: there are no pictures, or they cannot be decoded.
    """
    path = _file(clip, "video")
    tape = _tape("video", path, *_version(path), rate)
    first, last = _span(clip)
    count = 0
    for seconds, picture in tape.between(first, last):
        count += 1
        yield seconds - first, _half(picture, clip.crop)
    tape.check(clip)
    if not count:
        raise RecordingError("has no pictures: its video track is empty")


def length(clip: Clip) -> float:
    """The seconds that the file of a clip lasts, by its header; by its sound where that does not say.

    Raises:
        RecordingError: it cannot be opened.
    """
    path = _file(clip, "audio")
    with _opened(path) as container:
        if container.duration is not None and container.format.name not in GUESSED_LENGTH:
            return float(container.duration / 1_000_000)
    samples, rate = read_audio(Clip(clip.utterance, clip.audio, clip.video))
    return len(samples) / rate


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """Sound at another number of samples a second."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.asarray(resample_poly(samples.astype(np.float64), wanted // common, rate // common), np.float32)


class _Tape:
    """A track of a file that is decoded from its beginning on, once for clips in the order of their times.

    What a clip has read is kept until a later clip begins after it; an earlier one starts from the beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: deque[Any]
        self._kept_bytes: int
        self._kept_from: float
        self._reached: float
        self._at_end: bool
        self._length: float | None
        self._parts: Iterator[Any]
        self._rewind()

    def between(self, first: float, last: float) -> Iterator[Any]:
        """What lies between two times, in seconds."""
        if first < self._kept_from:
            self._rewind()
        self._kept_from = first
        while self._kept and self._ends(self._kept[0]) <= first:
            self._forget()
        for item in chain(list(self._kept), self._further(first, last)):
            if (part := self._cut(item, first, last)) is not None:
                yield part

    def _further(self, first: float, last: float) -> Iterator[Any]:
        """What has not been decoded before, as far as it is needed."""
        while not self._kept or self._ends(self._kept[-1]) < last:
            try:
                item = next(self._parts, None)
            except RecordingError:
                self._rewind()  # for the next clip, which may lie before the damage
                raise
            if item is None:
                self._at_end = True
                return
            self._reached = self._ends(item)
            if self._reached > first:
                self._keep(item, many=last < math.inf)
                yield item

    def check(self, clip: Clip) -> None:
        """Check that a clip which was read is all there, as far as the end of the file was reached.

        Raises:
            RecordingError: it is not.
        """
        if not self._at_end:
            return
        if clip.start is not None and clip.start >= self._reached:
            raise RecordingError(f"begins at {clip.start:g} s, and its file ends at {self._reached:.2f} s")
        expected = self._length if clip.end is None else clip.end
        if expected is not None and self._reached < min(WHOLE * expected, expected - SHORT_BY_S):
            raise RecordingError(
                f"is cut off: {self._reached:.2f} s of {expected:.2f} s can be read; copy or download it again"
            )

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """What FFmpeg cannot decode is an error of the clip.

        Raises:
            RecordingError: there is something.
        """
        try:
            yield
        except (OSError, ValueError) as error:  # errors of av are both, or one of them
            raise RecordingError(f"cannot be decoded after {self._reached:.2f} s ({_in_words(error)})") from None

    def _rewind(self) -> None:
        self._kept = deque()
        self._kept_bytes = 0
        self._kept_from = self._reached = 0.0
        self._at_end = False
        self._length = None
        self._parts = self._decode()

    def _keep(self, item: Any, *, many: bool) -> None:
        if not many:
            self._kept.clear()
            self._kept_bytes = 0
            self._kept_from = math.inf
        self._kept.append(item)
        self._kept_bytes += self._size(item)
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_from = self._ends(self._kept[0])
            self._forget()

    def _forget(self) -> None:
        self._kept_bytes -= self._size(self._kept.popleft())

    def _decode(self) -> Iterator[Any]:
        raise NotImplementedError

    def _begins(self, item: Any) -> float:
        raise NotImplementedError

    def _ends(self, item: Any) -> float:
        raise NotImplementedError

    def _cut(self, item: Any, first: float, last: float) -> Any | None:
        raise NotImplementedError

    def _size(self, item: Any) -> int:
        raise NotImplementedError


class _AudioTape(_Tape):
    """Sound; an item is the number of its first sample, and samples."""

    rate = 0

    def _decode(self) -> Iterator[tuple[int, Samples]]:
        import av

        with _opened(self._path) as container:
            if not container.streams.audio:
                raise RecordingError("has no audio track")
            stream = container.streams.audio[0]
            stream.thread_type = "NONE"
            self.rate, self._length = stream.rate, _length(self._path, container, stream)
            # In the file's own channels: a resampler that mixes them would give their sum over the square root of 2.
            resampler = av.AudioResampler(format="fltp")
            position = None
            with self._damage():
                for frame in container.decode(stream):
                    if position is None:
                        position = max(0, round((frame.time or 0.0) * self.rate))
                    for part in resampler.resample(frame):
                        samples = part.to_ndarray().mean(0, dtype=np.float32)
                        yield position, samples
                        position += len(samples)

    def _begins(self, item: tuple[int, Samples]) -> float:
        return item[0] / self.rate

    def _ends(self, item: tuple[int, Samples]) -> float:
        return (item[0] + len(item[1])) / self.rate

    def _cut(self, item: tuple[int, Samples], first: float, last: float) -> Samples | None:
        position, samples = item
        begin = max(0, round(first * self.rate) - position)
        end = len(samples) if last == math.inf else max(0, round(last * self.rate) - position)
        return samples[begin:end] if begin < end else None

    def _size(self, item: tuple[int, Samples]) -> int:
        return item[1].nbytes


class _VideoTape(_Tape):
    """Pictures at a fixed rate; an item is the time of one in seconds, and the picture."""

    def __init__(self, path: Path, rate: float) -> None:
        self._rate = rate
        super().__init__(path)

    def _decode(self) -> Iterator[tuple[float, Picture]]:
        with _opened(self._path) as container:
            streams = [stream for stream in container.streams.video if not _is_cover(stream)]
            if not streams:
                raise RecordingError("has no video track")
            stream = streams[0]
            stream.thread_type = "NONE"
            self._length = _length(self._path, container, stream)
            count = 0
            with self._damage():
                for count, item in self._sampled(container.decode(stream), stream):  # noqa: B007
                    if item is not None:
                        yield item
            if 0 < count < stream.frames - 1:  # some writers count one too many
                warnings.warn(
                    f"{self._path.name} counts {stream.frames:,} pictures and {count:,} can be read, so that times in "
                    "it are in doubt",
                    RecordingWarning,
                    stacklevel=2,
                )

    def _sampled(self, frames: Iterator[Any], stream: Any) -> Iterator[tuple[int, tuple[float, Picture] | None]]:
        """How many pictures were decoded, and at the times of the rate the one on the screen."""
        number = count = 0
        on_screen, end = None, 0.0
        for count, frame in enumerate(frames, 1):
            begin = end if frame.time is None else frame.time
            if on_screen is None:  # the first picture may come late
                number = math.ceil(max(0.0, begin - 1 / self._rate) * self._rate)
            while on_screen is not None and number / self._rate < begin - ROUNDING:
                yield count, (number / self._rate, _picture(on_screen))
                number += 1
            on_screen, end = frame, begin + _shown_for(frame, stream)
        while on_screen is not None and number / self._rate < end - ROUNDING:
            yield count, (number / self._rate, _picture(on_screen))
            number += 1
        yield count, None

    def _begins(self, item: tuple[float, Picture]) -> float:
        return item[0]

    def _ends(self, item: tuple[float, Picture]) -> float:
        return item[0] + 1 / self._rate

    def _cut(self, item: tuple[float, Picture], first: float, last: float) -> tuple[float, Picture] | None:
        return item if first - ROUNDING <= item[0] < last - ROUNDING else None

    def _size(self, item: tuple[float, Picture]) -> int:
        return item[1].nbytes


@lru_cache(maxsize=2)  # a process reads clips of one file one after the other, their sound and their pictures
def _tape(track: str, path: Path, _changed: int, _size: int, rate: float = 0.0) -> Any:
    return _AudioTape(path) if track == "audio" else _VideoTape(path, rate)


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise RecordingError(f"is missing or cannot be opened ({reason(error)})") from None
    return status.st_mtime_ns, status.st_size


def _file(clip: Clip, reads: Literal["audio", "video"]) -> Path:
    path = source(clip, reads)
    if path is None:
        raise RecordingError(f"has no {'sound' if reads == 'audio' else 'pictures'}: no file is named for it")
    return Path(path)


def _span(clip: Clip) -> tuple[float, float]:
    first, last = clip.start or 0.0, math.inf if clip.end is None else clip.end
    if not 0 <= first < last:
        raise RecordingError(f"ends before it begins: from {first:g} s to {last:g} s")
    return first, last


@contextmanager
def _opened(path: Path) -> Iterator["av.container.InputContainer"]:
    """A file, opened.

    Raises:
        RecordingError: it is empty, or of no format that FFmpeg knows.
    """
    import av

    try:
        with path.open("rb") as file:
            beginning = file.read(64)
    except OSError as error:
        raise RecordingError(f"is missing or cannot be opened ({reason(error)})") from None
    if not beginning:
        raise RecordingError("is empty: its file has 0 bytes")
    if beginning.startswith(b"version https://git-lfs"):
        raise RecordingError("is a pointer of git-lfs, not the recording; run git lfs pull in its folder")
    try:
        container = av.open(str(path))
    except (OSError, ValueError) as error:  # errors of av are both, or one of them
        raise RecordingError(f"cannot be read ({_in_words(error)}); its file is damaged or no recording") from None
    with container:
        yield container


def _in_words(error: Exception) -> str:
    """What FFmpeg says of a file, without its name."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0].rstrip(".")


def _length(path: Path, container: Any, stream: Any) -> float | None:
    """The end of a track in seconds as its header has it; None where there is none to rely on."""
    lengths = []
    if stream.duration is not None and container.format.name not in GUESSED_LENGTH:
        lengths.append(float((stream.duration + (stream.start_time or 0)) * stream.time_base))
    if stream.type == "video" and stream.frames and stream.average_rate:
        lengths.append(float(stream.frames / stream.average_rate))
    if lengths and container.format.name == "wav":  # FFmpeg measures what is there
        with path.open("rb") as file:
            name, size = struct.unpack("<4sI", file.read(8))
        if name == b"RIFF" and size < STREAMED:
            lengths[0] *= max(1.0, (size + 8) / path.stat().st_size)
    return max(lengths, default=None)


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the cover of an album."""
    return "attached_pic" in str(getattr(stream, "disposition", "")).lower()


def _shown_for(frame: Any, stream: Any) -> float:
    """How long a picture is on the screen, in seconds."""
    if frame.duration:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _picture(frame: Any) -> Picture:
    """A picture, turned as a player would."""
    picture: Picture = frame.to_ndarray(format="rgb24")
    turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _half(picture: Picture, crop: Literal["left", "right"] | None) -> Picture:
    middle = picture.shape[1] // 2
    if crop is None:
        return picture
    return picture[:, :middle] if crop == "left" else picture[:, middle:]
