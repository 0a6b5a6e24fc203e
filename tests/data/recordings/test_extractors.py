import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import RecordingError
from ifmmin.data.recordings.extractors import ExtractorError, available, make_extractor
from tests.data.recordings.media import tone, write_wav

PLUG_IN = """
import numpy as np
from ifmmin.data.recordings.extractors import Extractor

class Loudness(Extractor):
    name, version, reads, dimension, licence = "loudness", "1", "audio", 1, "MIT"

    def extract(self, clip):
        return np.ones((3, 1), np.float32)

class Unfinished:
    name = "unfinished"
"""


def test_log_mel_has_ten_frames_a_second_of_80_bands(tmp_path: Path) -> None:
    extractor = make_extractor("log-mel")
    clip = Clip("u", audio=write_wav(tmp_path / "u.wav", tone(2)))
    features = extractor.extract(clip)
    assert features.dtype == np.float32
    assert features.shape == (20, extractor.dimension)
    np.testing.assert_array_equal(features, extractor.extract(clip))


def test_log_mel_shows_where_a_tone_is_at_any_rate_of_samples(tmp_path: Path) -> None:
    for rate in (8_000, 16_000, 44_100):
        samples = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
        features = make_extractor("log-mel").extract(Clip("u", audio=write_wav(tmp_path / "u.wav", samples, rate)))
        # 1000 Hz is at 1000 mel, and 8 kHz at 2840
        assert abs(int(features.mean(0).argmax()) - 1000 / 2840 * 81 + 1) < 1.5


def test_a_minute_is_cut_without_a_seam(tmp_path: Path) -> None:
    clip = Clip("u", audio=write_wav(tmp_path / "u.wav", tone(63)))
    later = Clip("u", audio=clip.audio, start=58, end=63)
    whole, part = (make_extractor("log-mel").extract(clip) for clip in (clip, later))
    np.testing.assert_allclose(whole[580:629], part[:49], atol=1e-5)


def test_comparE_is_openSMILE_resampled(tmp_path: Path) -> None:  # noqa: N802
    opensmile = pytest.importorskip("opensmile")
    from scipy.signal import resample_poly

    path = write_wav(tmp_path / "u.wav", tone(2))
    levels = [opensmile.FeatureLevel.LowLevelDescriptors, opensmile.FeatureLevel.LowLevelDescriptors_Deltas]
    both = [opensmile.Smile(opensmile.FeatureSet.ComParE_2016, level).process_file(path) for level in levels]
    length = min(map(len, both))
    expected = np.hstack([frames.to_numpy(np.float64)[:length] for frames in both])
    features = make_extractor("comparE").extract(Clip("u", audio=path))
    assert features.shape == (20, 130)
    np.testing.assert_allclose(features, resample_poly(expected, 1, 10, axis=0), rtol=1e-6, atol=1e-6)


def test_egemaps_has_ten_frames_a_second(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    features = make_extractor("egemaps").extract(Clip("u", audio=write_wav(tmp_path / "u.wav", tone(2))))
    assert features.shape == (20, 25)


@pytest.mark.parametrize("name", ["log-mel", "comparE", "egemaps"])
def test_a_clip_that_is_too_short_says_so(tmp_path: Path, name: str) -> None:
    if name != "log-mel":
        pytest.importorskip("opensmile")
    clip = Clip("u", audio=write_wav(tmp_path / "u.wav", tone(0.02)))
    with pytest.raises(RecordingError, match=r"is too short: 0\.020 s of sound"):
        make_extractor(name).extract(clip)


def test_wordllama_has_a_vector_for_each_token() -> None:
    pytest.importorskip("tokenizers")
    extractor = make_extractor("wordllama")
    short, long = (extractor.extract(Clip("u", text=text)) for text in ("No!", "No! I said “no”, 先生."))
    assert short.shape == (2, 256)
    np.testing.assert_array_equal(long[:2], short)
    assert len(extractor.extract(Clip("u", text=" "))) == 0


def test_a_file_of_the_user_holds_extractors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(PLUG_IN)
    monkeypatch.chdir(tmp_path)
    extractor = make_extractor("mine.py:Loudness")
    assert (extractor.modality, extractor.extract(Clip("u")).shape) == ("a", (3, 1))
    with pytest.raises(ExtractorError, match="lacks version, reads"):
        make_extractor("mine.py:Unfinished")
    with pytest.raises(ExtractorError, match="did you mean 'Loudness'"):
        make_extractor("mine.py:Loudnes")
    with pytest.raises(ExtractorError, match="is missing"):
        make_extractor("yours.py:Loudness")


def test_an_unknown_extractor_is_refused_with_the_nearest() -> None:
    assert "log-mel" in available()
    with pytest.raises(ExtractorError, match="did you mean 'comparE'"):
        make_extractor("compare")


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ExtractorError, match="needs a model; write hf-text:path/to/folder"):
        make_extractor("hf-text")
    with pytest.raises(ExtractorError, match="is missing"):
        make_extractor(f"hf-text:{tmp_path / 'none'}")
    with pytest.raises(ExtractorError, match=r"no config\.json"):
        make_extractor(f"hf-audio:{tmp_path}")
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ExtractorError, match="pickles are not loaded"):
        make_extractor(f"hf-audio:{tmp_path}")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExtractorError, match="needs the package opensmile; run pip install 'opensmile'"):
        make_extractor("comparE")


def test_naming_extractors_imports_none_of_their_packages() -> None:
    heavy = {"torch", "cv2", "transformers", "opensmile", "onnxruntime", "tokenizers"}
    before = heavy & set(sys.modules)
    make_extractor("log-mel")
    assert heavy & set(sys.modules) == before
