from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import Picture, RecordingError
from ifmmin.data.recordings.extractors import Extractor, ExtractorError, make_extractor
from ifmmin.data.recordings.extractors.face import POINTS, find_face, similarity
from tests.data.recordings.media import write_media

pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")


@cache
def face() -> Extractor:
    try:
        return make_extractor("face")
    except ExtractorError as error:
        pytest.skip(str(error))


@cache
def portrait() -> Picture:
    """A woman who smiles; matplotlib has the picture."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    picture = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(picture[..., ::-1])


def test_a_similarity_brings_points_to_where_they_are_wanted() -> None:
    turn = np.array([[0, -2], [2, 0]], np.float32)
    points = POINTS @ turn + 7
    matrix = similarity(points, POINTS)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], POINTS, atol=1e-4)


def test_faces_are_found_at_any_size_and_turned() -> None:
    detector = face()._load()[0]  # type: ignore[attr-defined]
    height, width = portrait().shape[:2]
    sizes = [1.0, 0.5, 0.25]
    eyes = []
    for size in sizes:
        seen = find_face(detector, cv2.resize(portrait(), None, fx=size, fy=size, interpolation=cv2.INTER_AREA))
        assert seen is not None
        eyes.append(seen.points[:2] / size)
    np.testing.assert_allclose(eyes[1:], [eyes[0]] * 2, atol=0.02 * width)
    turned = cv2.warpAffine(portrait(), cv2.getRotationMatrix2D((width / 2, height / 2), 30, 1), (width, height))
    assert find_face(detector, turned) is not None
    assert find_face(detector, np.full((100, 150, 3), 99, np.uint8)) is None


def test_a_face_has_136_features_ten_times_a_second_and_none_where_it_is_gone(tmp_path: Path) -> None:
    extractor = face()
    shown = cv2.resize(portrait(), (256, 300), interpolation=cv2.INTER_AREA)
    path = write_media(tmp_path / "u.mp4", pictures=[shown] * 6 + [np.zeros_like(shown)] * 4)
    features = extractor.extract(Clip("u", video=path))
    assert features.shape == (10, 136)
    np.testing.assert_array_equal(features[:, -1], [1] * 6 + [0] * 4)
    assert not features[6:].any()
    np.testing.assert_allclose(features[:6, 128:135].sum(1), 1, rtol=1e-5)
    assert features[0, 128:135].argmax() in (3, 6), "she is happy, or has no expression"
    np.testing.assert_array_equal(features, extractor.extract(Clip("u", video=path)))


def test_the_half_of_the_picture_with_the_speaker_is_searched(tmp_path: Path) -> None:
    extractor = face()
    shown = cv2.resize(portrait(), (256, 300), interpolation=cv2.INTER_AREA)
    path = write_media(tmp_path / "u.mp4", pictures=[np.hstack([shown, np.zeros_like(shown)])] * 3)
    assert extractor.extract(Clip("u", video=path, crop="left"))[:, -1].all()
    with pytest.raises(RecordingError, match="shows no face in 3 pictures"):
        extractor.extract(Clip("u", video=path, crop="right"))
