"""A corpus on a page of its own, and in that of a report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ifmmin.data.audit import audit
from ifmmin.data.corpus import Corpus, Provenance, Sequences
from ifmmin.orchestrator.analysis.corpus import analyse_corpus
from ifmmin.orchestrator.reporting.drawing import Drawing
from ifmmin.orchestrator.reporting.figures import corpus_figures
from ifmmin.orchestrator.reporting.rendering import embed, render
from ifmmin.version import package_version


def render_corpus_page(corpus: Corpus) -> str:
    """The page of a corpus, as HTML; takes seconds for its figures."""
    drawings = list(corpus_figures(analyse_corpus(corpus)))
    return render("corpus.html", version=package_version(), **corpus_section(corpus, drawings))


def corpus_section(corpus: Corpus, drawings: Sequence[Drawing]) -> dict[str, Any]:
    """What the section on the corpus shows.

    Args:
        drawings: of `figures.corpus_figures`.
    """
    return {
        "corpus": corpus,
        "corpus_facts": _facts(corpus),
        "findings": audit(corpus),
        "corpus_drawings": [embed(drawing) for drawing in drawings],
    }


def _facts(corpus: Corpus) -> list[tuple[str, str]]:
    counts = np.bincount(corpus.labels, minlength=len(corpus.classes)).tolist()
    sizes = {n: f"{len(f.train):,} / {len(f.validation):,} / {len(f.test):,}" for n, f in sorted(corpus.folds.items())}
    alike = len(set(sizes.values())) == 1
    folds = (
        f"{len(sizes)}, each {next(iter(sizes.values()))}"
        if alike
        else "; ".join(f"{n}: {s}" for n, s in sizes.items())
    )
    return [
        ("about", corpus.about),
        ("utterances", f"{len(corpus):,}"),
        ("speakers", str(len({*corpus.speakers} - {None})) if corpus.speakers is not None else "unknown"),
        ("classes", ", ".join(f"{name} {count:,}" for name, count in zip(corpus.classes, counts, strict=True))),
        *(
            (
                f"{modality.letter}: {modality.title}",
                _features(corpus.sequences[modality.letter])
                + (", standardised with each fold's training set" if modality.standardised else "")
                + _extractor(corpus.extractors.get(modality.letter)),
            )
            for modality in corpus.modalities
        ),
        ("folds (train / validation / test)", folds),
        ("fingerprint", corpus.fingerprint),
        *(
            [("best possible WA in %", ", ".join(f"{c} {100 * v:.1f}" for c, v in corpus.best.items()))]
            if corpus.best
            else []
        ),
    ]


def _extractor(how: Provenance | None) -> str:
    """What the features were made with, if that is known."""
    return f"; made from recordings by {how.extractor}, version {how.version} ({how.licence})" if how else ""


def _features(sequences: Sequences) -> str:
    present = sequences.lengths[sequences.lengths > 0]
    lacking = len(sequences) - len(present)
    shortest, longest = present.min(), present.max()
    steps = f"{shortest} to {longest}" if shortest < longest else f"{longest}"
    return f"{sequences.dimension} features, {steps} time step{'s' if longest > 1 else ''}" + (
        f", missing for {lacking:,} of {len(sequences):,} utterances" if lacking else ""
    )
