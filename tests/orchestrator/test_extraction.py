import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.extractors import ExtractorError
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.execution.extraction import (
    OF_ONE_FILE,
    ClipFailed,
    Extracted,
    ExtractionProgress,
    Progress,
    Unit,
    Work,
    extract_features,
)
from ifmmin.orchestrator.execution.features import FeatureStore
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.store import Store
from tests.data.recordings.media import broken, tone, write_media, write_wav
from tests.gate import wait_until

MINE = """
import os, time, warnings
from pathlib import Path
import numpy as np
from ifmmin.data.recordings.decoding import RecordingError, RecordingWarning
from ifmmin.data.recordings.extractors import Extractor

FOLDER = Path(__file__).parent

class Words(Extractor):
    name, version, reads, dimension, licence = "words", "1", "text", 1, "MIT"

    def extract(self, clip):
        with open(FOLDER / "computed", "a") as file:
            file.write(clip.utterance + "\\n")
        if "wait" in clip.text:
            (FOLDER / "waiting.tmp").write_text(str(os.getpid()))
            (FOLDER / "waiting.tmp").rename(FOLDER / "waiting")
            while not (FOLDER / "open").exists():
                time.sleep(0.02)
        if "busy" in clip.text:
            mark = FOLDER / f"busy-{clip.utterance}"
            mark.touch()
            count = len(list(FOLDER.glob("busy-*")))
            time.sleep(0.05)
            mark.unlink()
            if count > 1:
                raise RecordingError("is not alone")
        if "crash" in clip.text:
            os.abort()
        if "refuse" in clip.text:
            raise RecordingError("is refused")
        if "bug" in clip.text:
            return {}[0]
        if "note" in clip.text:
            warnings.warn("it is noted", RecordingWarning)
        return np.full((len(clip.text.split()), 1), len(clip.text), np.float32)
"""
DRIVER = """
import sys
from pathlib import Path
from ifmmin.data.recordings.clip import Clip
from ifmmin.orchestrator.execution.extraction import extract_features
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.store import Store

folder = Path(sys.argv[1])
clips = [Clip(f"u{n}", text=f"wait {n}" if n == 12 else f"word {n}") for n in range(20)]
for event in extract_features(clips, {"t": f"{folder}/mine.py:Words"}, Store(folder / "store"), Compute(workers=1)):
    pass
"""


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session(Compute(workers=2)):
        yield


@pytest.fixture
def words(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path}/mine.py:Words"


def computed(folder: Path) -> Counter[str]:
    return Counter((folder / "computed").read_text().split())


def exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def extract(
    clips: list[Clip], extractors: dict[str, str], store: Store, workers: int = 2
) -> tuple[dict[tuple[str, str], Extracted], dict[str, str], ExtractionProgress]:
    """What was extracted, by utterance and letter; the reasons of failures, by utterance; and the last progress."""
    events = list(extract_features(clips, extractors, store, Compute(workers=workers)))
    extracted = {(clips[event.clip].utterance, event.letter): event for event in events if isinstance(event, Extracted)}
    failed = {clips[event.clip].utterance: event.reason for event in events if isinstance(event, ClipFailed)}
    return extracted, failed, [event for event in events if isinstance(event, ExtractionProgress)][-1]


@pytest.mark.slow  # starts Ray
@pytest.mark.usefixtures("session")
def test_a_failure_is_of_its_clip_alone(tmp_path: Path, words: str) -> None:
    texts = ["one", "refuse", "two words", "bug", "crash", "a note", "three words more", ""]
    clips = [Clip(f"u{number}", text=text) for number, text in enumerate(texts)]
    store = Store(tmp_path / "store")
    extracted, failed, progress = extract([*clips, Clip("wordless")], {"t": words}, store)
    assert {name: event.frames for (name, _), event in extracted.items()} == {
        "u0": 1,
        "u2": 2,
        "u5": 2,
        "u6": 3,
        "u7": 0,
    }
    assert extracted["u5", "t"].notes == ("it is noted",)
    assert failed["u1"] == "is refused"
    assert failed["u3"].startswith("KeyError: 0 (traceback: ")
    assert failed["u4"].startswith("ended the process that read it, 2 times")
    assert (progress.done, progress.failed, progress.total) == (5, 3, 8)
    np.testing.assert_array_equal(FeatureStore(store).read(extracted["u2", "t"].key), np.full((2, 1), 9, np.float32))

    before = computed(tmp_path)
    again, failed, progress = extract(clips, {"t": words}, store)
    assert set(failed) == {"u1", "u3", "u4"}
    assert set(computed(tmp_path) - before) == {"u3", "u4"}, "what is a property of the clip is kept"
    assert all(event.seconds is None for event in again.values())
    assert progress.total == 8


@pytest.mark.slow  # starts Ray
@pytest.mark.usefixtures("session")
def test_each_damaged_file_is_named_with_its_reason_and_the_others_are_done(tmp_path: Path) -> None:
    reasons = broken(tmp_path)
    clips = [replace(clip, utterance=why) for why, clip in reasons.items()]
    good = {
        "telephone": write_wav(tmp_path / "8000.wav", tone(1, 8_000), 8_000),
        "stereo": write_wav(tmp_path / "stereo.wav", np.stack([tone(1), tone(1, seed=1)], 1), 16_000),
        "short": write_wav(tmp_path / "half.wav", tone(0.05)),
        "video": write_media(tmp_path / "video.mp4", samples=tone(1)),
    }
    clips += [Clip(name, audio=path) for name, path in good.items()]
    extracted, failed, progress = extract(clips, {"a": "log-mel"}, Store(tmp_path / "store"))
    assert set(failed) == set(reasons)
    assert all(reason.startswith(why) for why, reason in failed.items()), failed
    assert {name for name, _ in extracted} == set(good)
    assert (progress.done, progress.failed) == (len(good), len(reasons))


@pytest.mark.slow  # starts Ray
@pytest.mark.usefixtures("session")
def test_features_are_the_same_bits_with_one_worker_and_with_two(tmp_path: Path) -> None:
    long = write_media(tmp_path / "long.mp4", samples=tone(8))
    clips = [
        Clip(f"u{n}", audio=write_wav(tmp_path / f"{n}.wav", tone(0.5 + n / 5, seed=n)), text="so") for n in range(8)
    ]
    clips += [Clip(f"part{n}", video=long, start=n / 2, end=n / 2 + 1) for n in range(14)]
    content = []
    for workers in (1, 2):
        store = Store(tmp_path / f"store{workers}")
        extracted, failed, _ = extract(clips, {"a": "log-mel"}, store, workers)
        assert not failed
        content.append({who: FeatureStore(store).read(event.key).tobytes() for who, event in extracted.items()})
    assert len(content[0]) == len(clips)
    assert content[0] == content[1]


@pytest.mark.slow  # starts Ray
@pytest.mark.usefixtures("session")
def test_one_worker_is_one_at_a_time_where_there_is_room_for_two(tmp_path: Path, words: str) -> None:
    clips = [Clip(f"u{number}", text=f"busy {number}") for number in range(12)]
    _, failed, _ = extract(clips, {"t": words}, Store(tmp_path / "store"), workers=1)
    assert not failed


@pytest.mark.slow  # starts Ray
@pytest.mark.usefixtures("session")
def test_a_content_is_computed_once_whatever_its_name(tmp_path: Path, words: str) -> None:
    clips = [Clip(name, text="the same") for name in ("first", "second")]
    extracted, _, progress = extract(clips, {"t": words}, Store(tmp_path / "store"))
    assert len({event.key for event in extracted.values()}) == 1
    assert (progress.done, progress.total) == (2, 2)
    extract([Clip("third", text="the same")], {"x": words}, Store(tmp_path / "store"))
    assert computed(tmp_path).total() == 1


@pytest.mark.slow  # starts Ray in a process of its own
def test_no_clip_is_computed_twice_when_the_driver_was_killed(tmp_path: Path, words: str) -> None:
    del words
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path)]
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "waiting").exists, lambda: f"the driver ended with {driver.poll()}")
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    worker = int((tmp_path / "waiting").read_text())
    wait_until(lambda: not exists(worker))
    kept = len(list((tmp_path / "store" / "features").glob("*.json")))
    assert kept >= 12
    (tmp_path / "open").touch()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    counts = computed(tmp_path)
    assert set(counts) == {f"u{number}" for number in range(20)}
    assert [name for name, count in counts.items() if count > 1] == ["u12"], "the clip in work was lost"
    assert not list((tmp_path / "store" / "features").glob("*.partial"))


def test_an_unknown_extractor_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(ExtractorError, match="did you mean 'log-mel'"):
        list(extract_features([Clip("u")], {"a": "logmel"}, Store(tmp_path), Compute()))


def test_files_that_are_missing_fail_without_ray(tmp_path: Path) -> None:
    clips = [Clip("u", audio=tmp_path / "missing.wav")]
    _, failed, progress = extract(clips, {"a": "log-mel"}, Store(tmp_path / "store"))
    assert failed == {"u": "is missing or cannot be opened (No such file or directory)"}
    assert (progress.failed, progress.total) == (1, 1)


def unit(name: str, start: float | None = None, file: str | None = None) -> Unit:
    return Unit("a", f"{name}-{start}", Clip(name, audio=Path(file or f"{name}.wav"), start=start), (0,))


def work(units: list[Unit]) -> Work:
    from ifmmin.data.recordings.extractors import make_extractor

    return Work(units, {"a": make_extractor("log-mel")})


def test_the_clips_of_a_file_are_one_task_in_the_order_of_time() -> None:
    units = [unit("u", start, "long.wav") for start in (3.0, 1.0, 2.0)]
    todo = work([unit("a"), *units, unit("b"), unit("c")])
    taken = []
    while todo:
        taken.append([(unit.clip.utterance, unit.clip.start) for unit in todo.take({"a": 2})])
    assert taken == [[("a", None)], [("u", 1.0), ("u", 2.0), ("u", 3.0)], [("b", None), ("c", None)]]


def test_a_long_file_is_several_tasks() -> None:
    todo = work([unit("u", float(number), "long.wav") for number in range(OF_ONE_FILE + 1)])
    assert [len(todo.take({"a": 1})), len(todo.take({"a": 1})), bool(todo)] == [OF_ONE_FILE, 1, False]


def test_lost_clips_are_computed_alone_and_fail_at_last() -> None:
    todo = work([unit("a"), unit("b")])
    both = todo.take({"a": 2})
    assert todo.lose(both, 2) == []
    first = todo.take({"a": 2})
    assert [unit.clip.utterance for unit in first] == ["a"]
    assert todo.lose(first, 2) == []
    assert [unit.clip.utterance for unit in todo.take({"a": 2})] == ["b"]
    assert [unit.clip.utterance for unit in todo.lose(todo.take({"a": 2}), 2)] == ["a"]
    assert not todo


def test_the_time_left_is_known_once_every_extractor_was_measured() -> None:
    progress = Progress()
    units = [unit(name) for name in "abcd"]
    for each in units:
        progress.add(each)
    assert progress.event(2).seconds_left is None
    progress.finish(units[0], 4.0, failed=False)
    assert progress.event(2) == ExtractionProgress(1, 0, 4, 6.0)
    progress.finish(units[1], None, failed=True)
    assert progress.event(1) == ExtractionProgress(1, 1, 4, 8.0)
