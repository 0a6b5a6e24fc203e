"""From a folder of recordings to a corpus: what is read, extracted, allowed to fail, and assembled."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ifmmin.data.audit import Finding
from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import Corpus, Features, Provenance
from ifmmin.data.errors import CorpusError, UserError, listed, nearest
from ifmmin.data.folder import Folder
from ifmmin.data.recordings.assembly import assemble, default_split, modalities_of
from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.decoding import source
from ifmmin.data.recordings.extractors import DEFAULTS, Extractor, make_extractor, whole_spec
from ifmmin.data.recordings.extractors.extractor import TITLES
from ifmmin.data.recordings.layouts import read_recordings
from ifmmin.data.selection import Selection, choose, select
from ifmmin.orchestrator.execution.extraction import ClipFailed, Extracted, extract_features
from ifmmin.orchestrator.execution.features import FeatureStore
from ifmmin.orchestrator.planning.configuration import Compute
from ifmmin.orchestrator.store import Store
from ifmmin.orchestrator.workflows import ExtractionConsumer

FAILURES = "failures.csv"

_FEW = 3


@dataclass(frozen=True)
class Preparation:
    """What an import is going to extract.

    Attributes:
        name: of the corpus.
        recordings: all of the folder.
        chosen: positions of the clips that the selection keeps.
        specs: extractors by letter.
        selection: with the folds that are to be made.
        storage: the store.
        allow_failures: how many clips may fail, as `prepare` takes it.
    """

    name: str
    recordings: Recordings
    chosen: tuple[int, ...]
    specs: Mapping[str, str]
    selection: Selection
    storage: str
    allow_failures: str | int

    @property
    def clips(self) -> list[Clip]:
        """The clips to extract the features of."""
        return [self.recordings.clips[index] for index in self.chosen]


@dataclass(frozen=True)
class Extraction:
    """What became of the clips of a preparation."""

    extracted: tuple[Extracted, ...]
    failed: tuple[ClipFailed, ...]


def prepare(
    folder: Path,
    name: str,
    *,
    storage: str,
    layout: str | None = None,
    extract: Mapping[str, str] | None = None,
    selection: Selection | None = None,
    allow_failures: str | int = 0,
) -> Preparation:
    """Read what a folder has, and check all that can be known before anything is extracted.

    Args:
        layout: one of `data.recordings.layouts.LAYOUTS`; by default the one that the folder has.
        extract: extractors by letter; by default one for each of sound, pictures and text that there is.
        selection: of classes and folds.
        allow_failures: how many clips may fail, a number or a percentage such as `3%`; those lack the modality.

    Raises:
        UserError: the folder, an extractor, a class or a split is not valid, or the name is taken.
    """
    folder_for(name, storage)
    parse_allowance(allow_failures, 0)
    recordings = read_recordings(folder, layout)
    specs = choose_extractors(recordings.clips, extract)
    made = {letter: make_extractor(spec) for letter, spec in specs.items()}
    selection = selection or Selection()
    draft, _ = _assemble(name, recordings, _draft(recordings.clips, made), made, specs, selection)
    if not (selection.makes_folds or draft.folds):
        selection = replace(selection, split_by=default_split(draft))
    drafted, _ = choose(draft, selection)
    kept = set(drafted.names)
    chosen = tuple(index for index, clip in enumerate(recordings.clips) if clip.utterance in kept)
    return Preparation(name, recordings, chosen, specs, selection, storage, allow_failures)


def extract(
    prepared: Preparation, *, compute: Compute | None = None, consumers: Sequence[ExtractionConsumer] = ()
) -> Extraction:
    """Extract the features that the store lacks.

    Args:
        consumers: take every event.

    Raises:
        UserError: the store cannot be written, or the Ray cluster cannot be joined.
    """
    extracted: list[Extracted] = []
    failed: list[ClipFailed] = []
    store = Store(prepared.storage)
    with closing(extract_features(prepared.clips, prepared.specs, store, compute or Compute())) as events:
        for event in events:
            if isinstance(event, Extracted):
                extracted.append(event)
            elif isinstance(event, ClipFailed):
                failed.append(event)
            for consumer in consumers:
                consumer.take(event)
    return Extraction(tuple(extracted), tuple(failed))


def finish(prepared: Preparation, extraction: Extraction) -> tuple[Corpus, list[Finding]]:
    """The corpus of what was extracted, which is not written, and the findings of its audit.

    Raises:
        UserError: more clips failed than may, or the corpus is not valid.
    """
    clips, failed = prepared.clips, extraction.failed
    table = _write_failures(prepared, failed)
    _check_failures(prepared, failed, table)
    read = FeatureStore(Store(prepared.storage)).read
    features: Features = {letter: [None] * len(prepared.recordings.clips) for letter in prepared.specs}
    for event in extraction.extracted:
        if event.frames:
            features[event.letter][prepared.chosen[event.clip]] = read(event.key)
    made = {letter: make_extractor(spec) for letter, spec in prepared.specs.items()}
    selection = _without_empty(prepared, features)
    corpus, findings = _assemble(prepared.name, prepared.recordings, features, made, prepared.specs, selection)
    return select(corpus, selection, [*findings, *_findings(failed, clips, table)])


def choose_extractors(clips: Sequence[Clip], extract: Mapping[str, str] | None) -> dict[str, str]:
    """The extractors by letter: those that are wanted, or the default for each thing that any clip has.

    Raises:
        UserError: an extractor is unknown, or reads what no clip has.
    """
    there = [reads for reads in DEFAULTS if any(source(clip, reads) is not None for clip in clips)]
    if extract is None:
        return {TITLES[reads][0]: DEFAULTS[reads] for reads in there}
    for letter, spec in extract.items():
        reads = make_extractor(spec).reads
        if reads not in there:
            raise UserError(f"--extract {letter}={spec} reads {reads}, and no clip has any; leave it out.")
    return {letter: whole_spec(spec) for letter, spec in extract.items()}


def parse_extract(words: Iterable[str]) -> dict[str, str] | None:
    """Extractors by letter as options name them: `a=log-mel`; None where there are none.

    Raises:
        UserError: one of them is not of that form, or a letter comes twice.
    """
    chosen: dict[str, str] = {}
    for word in words:
        letter, sign, spec = word.partition("=")
        letter, spec = letter.strip(), spec.strip()
        if not (sign and spec and len(letter) == 1):
            known = nearest(word, DEFAULTS.values())
            raise UserError(f"--extract {word}: write a letter and an extractor, such as a=log-mel; {known}")
        if letter in chosen:
            raise UserError(f"--extract {word}: {letter} is {chosen[letter]} already; use another letter.")
        chosen[letter] = spec
    return chosen or None


def parse_allowance(text: str | int, clips: int) -> int:
    """How many of so many clips may fail, by a number or a percentage.

    >>> parse_allowance("5", 200), parse_allowance("2.5%", 200), parse_allowance(0, 200)
    (5, 5, 0)

    Raises:
        UserError: it is neither.
    """
    word = str(text).strip()
    try:
        value = float(word.removesuffix("%"))
    except ValueError:
        value = -1
    if not (0 <= value <= 100 if word.endswith("%") else 0 <= value < np.inf and value.is_integer()):
        raise UserError(f"--allow-failures {text}: write a number of clips, or a percentage such as 3%.")
    return int(value * clips / 100) if word.endswith("%") else int(value)


def _assemble(
    name: str,
    recordings: Recordings,
    features: Features,
    made: Mapping[str, Extractor],
    specs: Mapping[str, str],
    selection: Selection,
) -> tuple[Corpus, list[Finding]]:
    provenance = {
        letter: Provenance(specs[letter], extractor.version, extractor.licence, extractor.identity())
        for letter, extractor in made.items()
    }
    return assemble(name, recordings, features, modalities_of(made), provenance, selection)


def _draft(clips: Sequence[Clip], made: Mapping[str, Extractor]) -> Features:
    """A number in the place of the features of each clip that has what an extractor reads."""
    return {
        letter: [
            None if source(clip, extractor.reads) is None else np.full((1, 1), number, np.float32)
            for number, clip in enumerate(clips)
        ]
        for letter, extractor in made.items()
    }


def _without_empty(prepared: Preparation, features: Features) -> Selection:
    """The selection, without clips that have lost all their modalities."""
    empty = any(all(parts[index] is None for parts in features.values()) for index in prepared.chosen)
    selection = prepared.selection
    return replace(selection, leave_out={*selection.leave_out, "empty"}) if empty else selection


def _write_failures(prepared: Preparation, failed: Sequence[ClipFailed]) -> str:
    """Write the table of what failed to the store; returns where it is."""
    folder = Folder(prepared.storage, "imports", prepared.name)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["utterance", "modality", "extractor", "reason", "audio", "video"])
    for failure in failed:
        clip = prepared.clips[failure.clip]
        files = [str(path or "") for path in (clip.audio, clip.video)]
        writer.writerow([clip.utterance, failure.letter, prepared.specs[failure.letter], failure.reason, *files])
    if failed:
        folder.write(FAILURES, text.getvalue().encode())
    return f"{folder}/{FAILURES}"


def _check_failures(prepared: Preparation, failed: Sequence[ClipFailed], table: str) -> None:
    clips, text = prepared.clips, prepared.allow_failures
    count = len({failure.clip for failure in failed})
    if count > parse_allowance(text, len(clips)):
        first = f"{clips[failed[0].clip].utterance} {failed[0].reason}, first; all in {table}"
        raise CorpusError(
            f"{count:,} of {len(clips):,} clips failed, more than --allow-failures {text} ({first}); correct the "
            f"recordings, or use --allow-failures {count}: what was extracted is kept."
        )


def _findings(failed: Sequence[ClipFailed], clips: Sequence[Clip], table: str) -> list[Finding]:
    findings = []
    for letter in dict.fromkeys(failure.letter for failure in failed):
        names = [clips[failure.clip].utterance for failure in failed if failure.letter == letter]
        some = f"{len(names):,} of {len(clips):,} clips failed and lack it ({listed(names, _FEW)}); reasons in {table}"
        findings.append(Finding("warning", "failed", f"{letter}: {some}"))
    return findings
