from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import RecordingError, read_audio, read_frames, resample
from tests.data.recordings.media import RATE, broken, picture, tone, write_media, write_wav


def numbers(clip: Clip, rate: float = 10.0) -> list[int]:
    """The numbers that the pictures of a clip show."""
    return [round(frame[:, : frame.shape[1] // 2].mean() / 10) for _, frame in read_frames(clip, rate)]


def test_a_wav_is_read_to_the_bit(tmp_path: Path) -> None:
    samples = np.round(tone(1.5) * 32768) / np.float32(32768)
    read, rate = read_audio(Clip("u", audio=write_wav(tmp_path / "u.wav", samples)))
    assert rate == RATE
    np.testing.assert_array_equal(read, samples)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = np.round(tone(0.5) * 32768) / 32768, np.round(tone(0.5, pitch=330) * 32768) / 32768
    path = write_wav(tmp_path / "u.wav", np.column_stack([left, right]).astype(np.float32))
    np.testing.assert_allclose(read_audio(Clip("u", audio=path))[0], (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "audio_codec", "video_codec"),
    [
        ("u.mp4", "aac", "mpeg4"),
        ("u.mov", "aac", "mjpeg"),
        ("u.avi", "libmp3lame", "mpeg4"),
        ("u.mkv", "libopus", "mpeg4"),
    ],
)
def test_sound_and_pictures_of_a_video_are_read(tmp_path: Path, name: str, audio_codec: str, video_codec: str) -> None:
    rate = 48_000 if audio_codec == "libopus" else RATE
    path = write_media(
        tmp_path / name,
        samples=tone(2, rate),
        pictures=[picture(number) for number in range(20)],
        rate=rate,
        audio_codec=audio_codec,
        video_codec=video_codec,
    )
    samples, read_rate = read_audio(Clip("u", video=path))
    assert read_rate == rate
    assert len(samples) / rate == pytest.approx(2, abs=0.12)
    assert numbers(Clip("u", video=path))[-20:] == list(range(20))  # the AVI begins with an empty place


def test_pictures_are_those_on_the_screen_at_the_times_of_the_rate(tmp_path: Path) -> None:
    path = write_media(tmp_path / "u.mp4", pictures=[picture(number) for number in range(20)])
    times = [seconds for seconds, _ in read_frames(Clip("u", video=path), 5)]
    assert times == pytest.approx([0.2 * number for number in range(10)])
    assert numbers(Clip("u", video=path), 5) == list(range(0, 20, 2))
    assert numbers(Clip("u", video=path), 20) == [number for number in range(20) for _ in range(2)]


def test_a_part_of_a_file_is_the_same_part_of_the_whole_in_any_order(tmp_path: Path) -> None:
    path = write_media(tmp_path / "u.mp4", samples=tone(2), pictures=[picture(number) for number in range(20)])
    whole, _ = read_audio(Clip("u", video=path))
    for start, end in [(0.0, 0.5), (0.3, 0.9), (0.3, 0.9), (1.2, 1.5), (0.2, 0.4), (1.0, None)]:
        clip = Clip("u", video=path, start=start, end=end)
        last = None if end is None else round(end * RATE)
        np.testing.assert_array_equal(read_audio(clip)[0], whole[round(start * RATE) : last])
        assert numbers(clip) == list(range(round(10 * start), 20 if end is None else round(10 * end)))


def test_half_of_a_picture_is_read_where_a_clip_has_one(tmp_path: Path) -> None:
    path = write_media(tmp_path / "u.mp4", pictures=[picture(20)] * 3)
    left, right = (
        next(frame for _, frame in read_frames(Clip("u", video=path, crop=crop), 10)) for crop in ("left", "right")
    )
    assert left.shape == right.shape == (64, 48, 3)
    assert left.mean() > 150 > 50 > right.mean()


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    for why, clip in broken(tmp_path).items():
        if why.startswith("is too short"):
            continue  # for an extractor
        with pytest.raises(RecordingError) as raised:
            read_audio(clip)
        assert str(raised.value).startswith(why), (why, str(raised.value))


def test_pictures_of_a_sound_are_lacking(tmp_path: Path) -> None:
    clip = Clip("u", video=write_wav(tmp_path / "u.wav", tone(1)))
    with pytest.raises(RecordingError, match="has no video track"):
        list(read_frames(clip, 10))


def test_sound_is_resampled_to_the_wanted_length() -> None:
    assert len(resample(tone(1, 44_100), 44_100, RATE)) == RATE
    np.testing.assert_allclose(
        resample(tone(1, 8_000), 8_000, RATE)[::2][100:-100], tone(1, 8_000)[100:-100], atol=0.05
    )
