"""Figures of a corpus: lengths, shares of classes, modalities that utterances have together, principal components."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import NDArray

from ifmmin.data.corpus import SETS, Corpus
from ifmmin.orchestrator.analysis.corpus import CorpusAnalysis
from ifmmin.orchestrator.reporting.drawing import COLOURS, MARKERS, Drawing, panels
from ifmmin.orchestrator.reporting.lettering import Labels, label

MOST_SPEAKERS = 40
"""Rows of a figure of speakers."""
MOST_GROUPS = 8
"""Speakers that one can tell apart by colour; the others are grey."""
MOST_COMBINATIONS = 24

_HATCHES = ("", "////", "....")
_GREY = "0.8"


def corpus_figures(analysis: CorpusAnalysis) -> Iterator[Drawing]:
    """Every figure that the corpus has something for."""
    corpus = analysis.corpus
    if len(analysis.combinations) > 1:
        yield modalities_together(analysis)
    if any(_varies(_present_lengths(corpus, letter)) for letter in corpus.letters):
        yield lengths(corpus)
    yield classes_by_set(analysis)
    if len(analysis.by_speaker):
        yield classes_by_speaker(analysis)
    if analysis.planes:
        yield components_by_class(analysis)
        if len(analysis.by_speaker) > 1:
            yield components_by_speaker(analysis)


def lengths(corpus: Corpus) -> Drawing:
    """How many time steps utterances have, a panel for each modality in which that varies."""
    present = {modality: _present_lengths(corpus, modality.letter) for modality in corpus.modalities}
    shown = [modality for modality, steps in present.items() if _varies(steps)]
    columns = min(3, len(shown))
    figure, axes = panels(ceil(len(shown) / columns), columns, width=9.6 / columns, height=2.9)
    for panel, modality in zip(axes, shown, strict=False):
        _draw_lengths(panel, present[modality])
        title = f"{modality.letter}: {modality.title}, median {np.median(present[modality]):g}"
        panel.set_title(title, fontsize=11, parse_math=False)
    _hide(axes[len(shown) :])
    figure.supylabel("utterances", fontsize=10)
    fixed = [f"{m.letter} {steps[0]}" for m, steps in present.items() if m not in shown and steps.size]
    caption = "Lengths of the utterances that have a modality, in time steps; the line is the median." + (
        f" Always the same: {', '.join(fixed)}." if fixed else ""
    )
    return Drawing("lengths", figure, caption)


def _present_lengths(corpus: Corpus, letter: str) -> NDArray[np.int64]:
    steps = corpus.sequences[letter].lengths
    return steps[steps > 0]


def _varies(steps: NDArray[np.int64]) -> bool:
    return bool(steps.size and steps.min() < steps.max())


def _draw_lengths(panel: Axes, steps: NDArray[np.int64]) -> None:
    low, high = int(steps.min()), int(steps.max())
    if high > 20 * low:
        panel.hist(steps, bins=list(np.unique(np.geomspace(low, high + 1, 30).astype(int))), color=COLOURS[0])
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_formatter("")
    else:
        step = max(1, ceil((high - low + 1) / 30))
        panel.hist(steps, bins=list(np.arange(low - 0.5, high + step + 0.5, step)), color=COLOURS[0])
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.axvline(float(np.median(steps)), color="black", linewidth=1.2)
    panel.set_xlabel("time steps", fontsize=9)
    panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def classes_by_set(analysis: CorpusAnalysis) -> Drawing:
    """The classes' shares of each set, a bar for each fold."""
    labels, counts = label(analysis.corpus.classes), analysis.by_set
    folds = sorted(analysis.corpus.folds)
    figure, axes = panels(len(SETS), 1, width=min(9.6, 4.8 + 0.8 * len(folds)), height=1.75)
    every = ceil(len(folds) / 20)
    for panel, name in zip(axes, SETS, strict=True):
        part = counts[counts["set"] == name].drop(columns=["fold", "set"]).to_numpy()
        _stack(panel, part, labels)
        sizes = part.sum(1)
        size = f"{sizes.min():,}" + (f" to {sizes.max():,}" if sizes.max() > sizes.min() else "")
        panel.set_title(f"{name}: {size} utterances", fontsize=10, loc="left")
        panel.set(ylim=(0, 100), yticks=[0, 50, 100], xlim=(-0.6, len(folds) - 0.4))
        panel.set_xticks(range(0, len(folds), every), [str(fold) for fold in folds[::every]])
    axes[-1].set_xlabel("fold")
    figure.supylabel("% of the set", fontsize=10)
    _add_legend(figure, axes[0].get_legend_handles_labels()[0], labels)
    caption = "Shares of the classes in the sets of each fold."
    return _keyed("classes_by_set", figure, caption, classes=labels)


def classes_by_speaker(analysis: CorpusAnalysis) -> Drawing:
    """The classes' utterances of each speaker, a bar for each."""
    labels, counts = label(analysis.corpus.classes), analysis.by_speaker.head(MOST_SPEAKERS)
    names = label(counts["speaker"].astype(str).tolist())
    figure, (panel,) = panels(1, 1, width=9.6, height=1.4 + 0.24 * len(counts))
    _stack(panel, counts.drop(columns="speaker").to_numpy(), labels, horizontal=True)
    panel.set_yticks(range(len(counts)), names.texts, fontfamily=names.families, parse_math=False, fontsize=9)
    panel.set(ylim=(len(counts) - 0.4, -0.6), xlabel="utterances", ylabel="speaker")
    panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _add_legend(figure, panel.get_legend_handles_labels()[0], labels)
    others = len(analysis.by_speaker) - len(counts)
    caption = "Utterances of each class by speaker" + (
        f"; {others:,} speakers with fewer utterances are not shown." if others else "."
    )
    return _keyed("classes_by_speaker", figure, caption, classes=labels, speakers=names)


def _stack(panel: Axes, counts: NDArray[np.int64], labels: Labels, *, horizontal: bool = False) -> None:
    """Bars of the counts of each class (columns), side by side; upright ones are shares of the bar in percent."""
    values = counts if horizontal else 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    start = np.zeros(len(values))
    for index, text in enumerate(labels.texts):
        style: dict[str, Any] = {
            "color": COLOURS[index % len(COLOURS)],
            "hatch": _HATCHES[index // len(COLOURS) % len(_HATCHES)],
            "edgecolor": "white",
            "linewidth": 0.6,
            "label": text,
        }
        if horizontal:
            panel.barh(range(len(values)), values[:, index], left=start, height=0.8, **style)
        else:
            panel.bar(range(len(values)), values[:, index], bottom=start, width=0.8, **style)
        start = start + values[:, index]


def _add_legend(figure: Figure, handles: Sequence[Artist], labels: Labels) -> None:
    """Above everything, in as many columns as have room."""
    columns = min(len(handles), int(figure.get_size_inches()[0] / (0.8 + 0.08 * max(map(len, labels.texts)))))
    legend = figure.legend(
        handles, list(labels.texts), loc="outside upper left", ncols=columns, frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set(fontfamily=labels.families, parse_math=False)


def modalities_together(analysis: CorpusAnalysis) -> Drawing:
    """How many utterances have which modalities: a bar for each combination above its dots."""
    corpus, shown = analysis.corpus, analysis.combinations.head(MOST_COMBINATIONS)
    names = [f"{modality.letter}: {modality.title}" for modality in corpus.modalities]
    figure = Figure(figsize=(9.6, 2.6 + 0.32 * len(names)), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 4), height_ratios=(2.4, 0.32 * len(names) + 0.1))
    bars, dots, sizes = (figure.add_subplot(grid[place]) for place in ((0, 1), (1, 1), (1, 0)))
    positions = np.arange(len(shown))
    bars.bar(positions, shown["utterances"], width=0.66, color=COLOURS[0])
    for position, count in zip(positions, shown["utterances"], strict=True):
        share = 100 * count / len(corpus)
        text = f"{count:,}\n{share:.1f} %" if len(shown) <= 12 else f"{count:,}"
        bars.annotate(text, (position, count), (0, 2), textcoords="offset points", ha="center", fontsize=8)
    bars.set_ylabel("utterances")
    bars.margins(y=0.22)
    bars.set_xticks([])
    _draw_dots(dots, positions, [str(letters) for letters in shown["letters"]], corpus.letters)
    bars.set_xlim(*(limits := (-0.6, max(len(shown), 5) - 0.4)))
    dots.set_xlim(*limits)
    sizes.barh(range(len(names)), corpus.present.sum(0), height=0.6, color="0.45")
    sizes.set(ylim=(len(names) - 0.5, -0.5), xlabel="utterances")
    sizes.set_yticks(range(len(names)), names, parse_math=False)
    sizes.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    for panel, hidden in ((bars, ["top", "right"]), (sizes, ["top", "right"]), (dots, list(dots.spines))):
        panel.spines[hidden].set_visible(False)
    rest = analysis.combinations[MOST_COMBINATIONS:]
    caption = (
        "Which modalities utterances have: each bar counts those that have the modalities with a dark dot below it "
        "and no others; the bars on the left count all that have a modality."
    )
    if len(rest):
        caption += f" {len(rest)} rarer combinations with {rest['utterances'].sum():,} utterances are not shown."
    return Drawing("modalities_together", figure, caption)


def _draw_dots(panel: Axes, positions: NDArray[np.int64], combinations: Sequence[str], letters: Sequence[str]) -> None:
    for row in range(0, len(letters), 2):
        panel.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0)
    for position, combination in zip(positions, combinations, strict=True):
        has = [row for row, letter in enumerate(letters) if letter in combination]
        lacks = [row for row, letter in enumerate(letters) if letter not in combination]
        panel.scatter([position] * len(lacks), lacks, s=34, color=_GREY, zorder=2)
        panel.plot([position] * len(has), has, color="0.15", marker="o", markersize=6, linewidth=1.6, zorder=3)
    panel.set(ylim=(len(letters) - 0.5, -0.5), xticks=[], yticks=[])


def components_by_class(analysis: CorpusAnalysis) -> Drawing:
    """The principal components of each modality, a colour and a marker for each class."""
    corpus = analysis.corpus
    labels = label(corpus.classes)
    figure = _draw_planes(analysis, labels, corpus.labels)
    caption = (
        f"{_about_planes(analysis)} Classes that lie apart can be recognised from this modality's means alone; "
        "those that mix may still differ in other directions or over time."
    )
    return _keyed("components_by_class", figure, caption, classes=labels)


def components_by_speaker(analysis: CorpusAnalysis) -> Drawing:
    """The principal components of each modality, a colour and a marker for each speaker with many utterances."""
    speakers = analysis.by_speaker["speaker"].astype(str).tolist()
    chosen = speakers[:MOST_GROUPS] if len(speakers) > MOST_GROUPS else speakers
    place = {name: index for index, name in enumerate(chosen)}
    groups = np.array([place.get(str(name), -1) for name in analysis.corpus.speakers or []])
    labels = label(chosen)
    figure = _draw_planes(analysis, labels, groups)
    others = len(speakers) - len(chosen)
    caption = (
        f"{_about_planes(analysis)} Where speakers lie apart, a network can learn who speaks in place of what is felt."
    )
    if others:
        caption += f" The {len(chosen)} speakers with the most utterances have colours, {others:,} others are grey."
    return _keyed("components_by_speaker", figure, caption, speakers=labels)


def _about_planes(analysis: CorpusAnalysis) -> str:
    most = max(len(plane.points) for plane in analysis.planes)
    drawn = f"{most:,} utterances drawn at random" if any(p.utterances > len(p.points) for p in analysis.planes) else ""
    return (
        "The first two principal components of each modality's features, averaged over time and standardised"
        + (f"; of {drawn}" if drawn else "")
        + "; in brackets the share of their variance."
    )


def _draw_planes(analysis: CorpusAnalysis, labels: Labels, groups: NDArray[np.int64]) -> Figure:
    """A panel for each modality; groups are numbers of labels, and -1 is drawn in grey."""
    planes = analysis.planes
    columns = min(3, len(planes))
    side = 9.6 / max(columns, 2)
    figure, axes = panels(ceil(len(planes) / columns), columns, width=side, height=side * 0.92)
    for panel, plane in zip(axes, planes, strict=False):
        points = plane.points.assign(group=groups[plane.points["utterance"]])
        grey = points[points["group"] < 0]
        panel.scatter(grey["x"], grey["y"], s=7, color=_GREY, linewidths=0, zorder=1)
        _scatter(panel, points[points["group"] >= 0], labels)
        first, second = (100 * share for share in plane.explained)
        panel.set_title(f"{plane.letter}: {plane.title}", fontsize=11, parse_math=False)
        panel.set_xlabel(f"first component ({first:.0f} %)", fontsize=8.5)
        panel.set_ylabel(f"second ({second:.0f} %)", fontsize=8.5)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(True)
        panel.spines[:].set_color("0.7")
    _hide(axes[len(planes) :])
    handles = [
        axes[0].scatter([], [], s=26, color=_colour(index), marker=_marker(index), linewidths=0)
        for index in range(len(labels.texts))
    ]
    _add_legend(figure, handles, labels)
    return figure


def _scatter(panel: Axes, points: pd.DataFrame, labels: Labels) -> None:
    """The points of all groups in an order drawn at random, so that none covers the others."""
    size = 14 if len(points) < 600 else 8
    shuffled = points.sample(frac=1, random_state=0)
    for start in range(0, len(shuffled), 100):
        part = shuffled[start : start + 100]
        for index in range(len(labels.texts)):
            some = part[part["group"] == index]
            panel.scatter(
                some["x"],
                some["y"],
                s=size,
                color=_colour(index),
                marker=_marker(index),
                alpha=0.75,
                linewidths=0,
                zorder=2,
            )


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _marker(index: int) -> str:
    """Another one where colours come again."""
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def _hide(axes: Sequence[Axes]) -> None:
    for panel in axes:
        panel.set_axis_off()


def _keyed(name: str, figure: Figure, caption: str, **labels: Labels) -> Drawing:
    """A drawing whose caption names the numbers that stand for names."""
    numbered = {what: part.key for what, part in labels.items() if part.key}
    if not numbered:
        return Drawing(name, figure, caption)
    kinds = " and ".join(numbered).capitalize()
    keys = " ".join(f"{what.capitalize()}: {key}" for what, key in numbered.items())
    return Drawing(name, figure, f"{caption} {kinds} are numbered, as their names cannot be drawn.", keys)
