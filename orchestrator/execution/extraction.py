"""Extracts the features of clips on Ray. Each clip is written to the store as soon as it is done, and never again.

Ray carries tasks of several clips of one extractor; the clips of one file are read in one pass. A clip that ends its
worker's process is computed alone the second time, and is a failure the third.
"""

import time
import traceback
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

from ifmmin.data.errors import UserError
from ifmmin.data.folder import FolderError, reason
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import RecordingError, RecordingWarning, source
from ifmmin.data.recordings.extractors import Extractor, make_extractor, whole_spec
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.execution.events import ClusterChanged, Tick, Waiting
from ifmmin.orchestrator.execution.features import Contents, FeatureRecord, FeatureStore, key_of
from ifmmin.orchestrator.execution.interruption import raise_if_interrupted
from ifmmin.orchestrator.execution.resources import Room, device_of
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.store import Store, StoreError

TICK_S = 0.25
TASK_S = 4.0
"""About how long a task should take: long beside what Ray needs for one, short beside the whole."""

MOST_AT_ONCE = 64
"""Clips in one task."""

OF_ONE_FILE = 32
"""Clips of one file in one task; for the next ones the file is read from its beginning again."""

ATTEMPTS = 2
"""How often a clip that ends its process is computed alone."""

HASHING_THREADS = 4


@dataclass(frozen=True)
class Extracted:
    """The features of a clip are in the store.

    Attributes:
        clip: its position.
        letter: of the modality.
        key: see `FeatureStore.read`.
        frames: how many there are; none where the clip lacks the modality.
        notes: to know about the clip.
        seconds: computing time; None if they were in the store before.
    """

    clip: int
    letter: str
    key: str
    frames: int
    notes: tuple[str, ...]
    seconds: float | None


@dataclass(frozen=True)
class ClipFailed:
    """A clip cannot be used by an extractor, with the reason."""

    clip: int
    letter: str
    reason: str


@dataclass(frozen=True)
class ExtractionProgress:
    """How many clips and extractors are done, failed, and there in all; and the seconds left, where they are known."""

    done: int
    failed: int
    total: int
    seconds_left: float | None


ExtractionEvent = Extracted | ClipFailed | ExtractionProgress | ClusterChanged | Waiting | Tick


@dataclass(frozen=True)
class Unit:
    """A clip and the extractor that is to read it, by its letter."""

    letter: str
    key: str
    clip: Clip
    positions: tuple[int, ...]
    """Of all clips with the same content."""


@dataclass(frozen=True)
class Result:
    """What became of a unit in a task; only what was written to the store is final."""

    record: FeatureRecord
    kind: Literal["written", "error", "storage"]


def extract_features(
    clips: Sequence[Clip], extractors: Mapping[str, str], store: Store, compute: Compute
) -> Generator[ExtractionEvent, None, None]:
    """Extract the features of clips which the store lacks, as many at once as the resources allow.

    A clip that lacks what an extractor reads has no event of that letter.

    Args:
        extractors: by the letters of modalities, see `data.recordings.extractors.make_extractor`.

    Raises:
        UserError: an extractor is unknown or lacks what it needs; the Ray cluster cannot be joined; or the store cannot
            be written.
    """
    specs = {letter: whole_spec(spec) for letter, spec in extractors.items()}
    made = {letter: make_extractor(spec) for letter, spec in specs.items()}
    features = FeatureStore(store)
    planned: list[Unit] = []
    progress = Progress()
    for event in _plan(clips, made, features):
        if isinstance(event, ClipFailed):
            progress.fail()
        if isinstance(event, Unit):
            planned.append(event)
        else:
            yield event
    completed = features.completed(unit.key for unit in planned)
    for unit in planned:
        progress.add(unit)
    for unit in planned:
        if unit.key in completed:
            record = features.record(unit.key)
            progress.finish(unit, None, failed=bool(record.failure))
            yield from _events(unit, record, None)
    yield progress.event(1)
    to_run = [unit for unit in planned if unit.key not in completed]
    if to_run:
        with ray_session(compute):
            run = _Run(Work(to_run, made), specs, made, store, compute, progress)
            try:
                yield from run.events()
            finally:
                run.cancel()


def _plan(clips: Sequence[Clip], made: Mapping[str, Extractor], features: FeatureStore) -> Iterator[Any]:
    """The units of clips, each content once; with a failure for each file that cannot be read, and ticks."""
    contents = Contents(features)
    files = {
        Path(str(what))
        for extractor in made.values()
        if extractor.reads != "text"
        for clip in clips
        if (what := source(clip, extractor.reads)) is not None
    }
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        futures = [pool.submit(contents.of_file, file) for file in sorted(files)]
        for future in futures:
            while not future.done():
                with suppress(TimeoutError):
                    future.exception(TICK_S)
                raise_if_interrupted()
                yield Tick()
    contents.keep()
    units: dict[str, Unit] = {}
    for letter, extractor in made.items():
        for position, clip in enumerate(clips):
            if source(clip, extractor.reads) is None:
                continue
            try:
                key = key_of(clip, extractor, contents)
            except OSError as error:
                yield ClipFailed(position, letter, f"is missing or cannot be opened ({reason(error)})")
                continue
            known = units.get(f"{letter} {key}", Unit(letter, key, clip, ()))
            units[f"{letter} {key}"] = replace(known, positions=(*known.positions, position))
    yield from units.values()


def _events(unit: Unit, record: FeatureRecord, seconds: float | None) -> Iterator[ExtractionEvent]:
    for position in unit.positions:
        if record.failure:
            yield ClipFailed(position, unit.letter, record.failure)
        else:
            yield Extracted(position, unit.letter, unit.key, record.frames, record.notes, seconds)


class Progress:
    """Counts units, and estimates the time left from those that were computed."""

    def __init__(self) -> None:
        self._done = self._failed = self._total = 0
        self._left: Counter[str] = Counter()
        self._computed: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, unit: Unit) -> None:
        """Count a unit that is to be done."""
        self._total += len(unit.positions)
        self._left[unit.letter] += 1

    def fail(self) -> None:
        """Count a clip that cannot be read at all."""
        self._total += 1
        self._failed += 1

    def finish(self, unit: Unit, seconds: float | None, *, failed: bool) -> None:
        """Count a unit that was done in so many seconds, or was in the store."""
        self._left[unit.letter] -= 1
        if failed:
            self._failed += len(unit.positions)
        else:
            self._done += len(unit.positions)
        if seconds is not None:
            self._computed[unit.letter] += 1
            self._seconds[unit.letter] += seconds

    def pace(self, letter: str) -> float | None:
        """Mean seconds that a clip takes; None before one was computed."""
        return self._seconds[letter] / self._computed[letter] if self._computed[letter] else None

    def event(self, places: int) -> ExtractionProgress:
        """The progress of an extraction that computes in so many places at once."""
        paces = {letter: self.pace(letter) for letter, count in self._left.items() if count}
        known = [self._left[letter] * pace for letter, pace in paces.items() if pace is not None]
        left = sum(known) / places if len(known) == len(paces) else None
        return ExtractionProgress(self._done, self._failed, self._total, left)


class Work:
    """The units that are to be computed, in groups of one file. Pure: no Ray."""

    def __init__(self, units: Iterable[Unit], extractors: Mapping[str, Extractor]) -> None:
        groups: dict[tuple[str, str], list[Unit]] = {}
        for unit in units:
            what = source(unit.clip, extractors[unit.letter].reads)
            shared = str(what) if isinstance(what, Path) else unit.key
            groups.setdefault((unit.letter, shared), []).append(unit)
        self._groups = deque(sorted(group, key=lambda unit: unit.clip.start or 0.0) for group in groups.values())
        self._alone: deque[Unit] = deque()
        self._attempts: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._groups or self._alone)

    def take(self, most: Mapping[str, int]) -> list[Unit]:
        """Units for one task, of one extractor: some clips of a file, or as many files of one clip as are wanted.

        Args:
            most: how many files to take, by letter.
        """
        if self._alone:
            return [self._alone.popleft()]
        taken = self._groups.popleft()
        if len(taken) > 1:
            if rest := taken[OF_ONE_FILE:]:
                self._groups.appendleft(rest)
            return taken[:OF_ONE_FILE]
        letter = taken[0].letter
        while self._groups and len(taken) < most[letter]:
            if len(self._groups[0]) > 1 or self._groups[0][0].letter != letter:
                break
            taken.extend(self._groups.popleft())
        return taken

    def lose(self, units: Sequence[Unit], attempts: int) -> list[Unit]:
        """Take back units whose worker or node was lost, to be computed alone.

        Returns:
            Those that were computed alone so often already.
        """
        failed = []
        for unit in units:
            self._attempts[unit.key] += len(units) == 1
            if self._attempts[unit.key] >= attempts:
                failed.append(unit)
            else:
                self._alone.append(unit)
        return failed


class _Run:
    """Submits units to Ray, and turns their results into events."""

    def __init__(
        self,
        work: Work,
        specs: Mapping[str, str],
        extractors: Mapping[str, Extractor],
        store: Store,
        compute: Compute,
        progress: Progress,
    ) -> None:
        self._work, self._specs, self._extractors = work, specs, extractors
        self._store, self._compute, self._progress = store, compute, progress
        self._features = FeatureStore(store)
        self._running: dict[Any, list[Unit]] = {}
        self._device = device_of(compute)
        self._room = Room(compute, self._device)

    def events(self) -> Iterator[ExtractionEvent]:
        """The events until everything is done."""
        while self._work or self._running:
            raise_if_interrupted()
            yield from self._room.look()
            while self._work and len(self._running) < self._room.window:
                self._submit(self._work.take(self._sizes()))
            ray.wait(list(self._running), timeout=TICK_S)
            ended, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            for reference in ended:
                yield from self._settle(self._running.pop(reference), reference)
            yield self._progress.event(self._room.places)
            yield Tick()

    def cancel(self) -> None:
        """Stop what is still running."""
        with suppress(RayError):
            for reference in self._running:
                ray.cancel(reference, force=True)
        self._running.clear()

    def _sizes(self) -> dict[str, int]:
        """How many files a task should read, by letter; one until it is known how long they take."""
        paces = {letter: self._progress.pace(letter) for letter in self._extractors}
        return {
            letter: 1 if pace is None else int(np.clip(TASK_S / max(pace, 1e-4), 1, MOST_AT_ONCE))
            for letter, pace in paces.items()
        }

    def _submit(self, units: list[Unit]) -> None:
        letter = units[0].letter
        extractor = self._extractors[letter]
        on_gpu = self._device == "cuda" and extractor.uses_gpu
        options = {
            "num_cpus": 1,
            "num_gpus": self._compute.gpu_share("extract", "train") if on_gpu else 0,
            "max_retries": 0,  # `Work.lose` decides what is computed again
        }
        reference = extract_units.options(**options).remote(
            units, self._specs[letter], extractor.identity(), self._device if on_gpu else "cpu", self._store
        )
        self._running[reference] = units

    def _settle(self, units: list[Unit], reference: Any) -> Iterator[ExtractionEvent]:
        try:
            results: list[Result] = ray.get(reference)
        except RayTaskError as error:
            lines = str(error.cause).strip().splitlines() or [type(error.cause).__name__]
            for unit in units:
                yield from self._fail(unit, lines[0], str(error))
            return
        except RayError as error:
            crashed = isinstance(error, WorkerCrashedError | OutOfMemoryError)
            attempts = ATTEMPTS if crashed else 1 + self._compute.retries
            what = "ended the process that read it" if crashed else f"was lost with its node ({type(error).__name__})"
            for unit in self._work.lose(units, attempts):
                yield from self._fail(unit, f"{what}, {attempts} times", str(error))
            return
        for unit, result in zip(units, results, strict=True):
            if result.kind == "storage":
                raise StoreError(result.record.failure)
            if result.kind == "error":
                summary, _, trace = result.record.failure.partition("\n")
                yield from self._fail(unit, summary, trace)
                continue
            if not self._features.completed([unit.key]):
                raise StoreError(
                    f"A worker wrote features to {self._store.location}, and they are not there on this machine; on "
                    "several machines --storage must be a folder that they share, or a bucket (s3://, gs://)."
                )
            self._progress.finish(unit, result.record.seconds, failed=bool(result.record.failure))
            yield from _events(unit, result.record, result.record.seconds)

    def _fail(self, unit: Unit, summary: str, trace: str) -> Iterator[ExtractionEvent]:
        """A failure for which the clip may not be to blame: it is not kept, so that the next call tries again."""
        self._progress.finish(unit, None, failed=True)
        written = self._store.write_failure(unit.key, trace)
        for position in unit.positions:
            yield ClipFailed(position, unit.letter, f"{summary} (traceback: {written})")


@ray.remote
def extract_units(units: list[Unit], spec: str, identity: str, device: str, store: Store) -> list[Result]:
    """Extract the features of some clips and write each to the store; those that are there by now are left."""
    features = FeatureStore(store)
    try:
        extractor = _extractor(spec, device)
        if extractor.identity() != identity:
            raise UserError(f"Extractor {spec} is another one on this machine; install and copy the same everywhere.")
        completed = features.completed(unit.key for unit in units)
        return [
            Result(features.record(unit.key), "written")
            if unit.key in completed
            else _extract(unit, extractor, features)
            for unit in units
        ]
    except (StoreError, FolderError) as error:
        return [Result(FeatureRecord("", identity, 0, 0.0, (), str(error)), "storage")] * len(units)


@lru_cache(maxsize=4)
def _extractor(spec: str, device: str) -> Extractor:
    return make_extractor(spec, device)


def _extract(unit: Unit, extractor: Extractor, features: FeatureStore) -> Result:
    begun = time.perf_counter()
    blank = np.zeros((0, extractor.dimension), np.float32)
    record = FeatureRecord(unit.clip.utterance, extractor.identity(), 0, 0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            frames = _checked(extractor.extract(unit.clip), extractor)
            record = replace(record, frames=len(frames))
        except RecordingError as error:
            frames, record = blank, replace(record, failure=str(error))
        except StoreError:
            raise
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            summary = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            line = (summary.splitlines() or ["no reason given"])[0]
            return Result(replace(record, failure=f"{line}\n{trace}"), "error")
    notes = tuple(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, RecordingWarning)))
    record = replace(record, seconds=time.perf_counter() - begun, notes=notes)
    features.write(unit.key, frames, record)
    return Result(record, "written")


def _checked(frames: np.ndarray[Any, Any], extractor: Extractor) -> np.ndarray[Any, Any]:
    """Features as they are stored.

    Raises:
        RecordingError: they do not have the extractor's dimension, or are not finite.
    """
    frames = np.ascontiguousarray(frames, np.float32)
    if frames.ndim != 2 or frames.shape[1] != extractor.dimension:
        raise RecordingError(
            f"got features of shape {frames.shape} from {extractor.name}, which promises (time, {extractor.dimension})"
        )
    if not np.isfinite(frames).all():
        raise RecordingError(f"got features that are not finite from {extractor.name}")
    return frames
