"""Draws `missing_rates.png`, and writes its table: accuracy where utterances of all sets lack modalities at a rate.

python docs/pictures/missing_rates.py [STORE]

Every system is trained and tested on a part of `digits` (400 utterances to train on, 100 to choose the epoch, 200 to
test), from which modalities are removed at random, by the rule of `--train-missing` but in all sets. Training is short,
so the numbers show the trend and not what the systems can do. What is in the store is not computed again.
"""

import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import pandas as pd
import torch

import ifmmin
from ifmmin.data.catalogue import find_corpus, folder_for
from ifmmin.data.corpus import Corpus, Fold, write_corpus
from ifmmin.data.errors import UserError
from ifmmin.data.removal import draw_removed
from ifmmin.orchestrator.planning.catalogue import systems
from ifmmin.orchestrator.reporting.drawing import panels, style
from ifmmin.orchestrator.store import Store

RATES = (0.0, 0.2, 0.4, 0.6)
SEEDS = (0, 1, 2)
HYPERPARAMETERS = {"epochs": 12, "constant_epochs": 12, "learning_rate": 0.002, "batch_size": 64, "mctn.steps": 8}
HYPERPARAMETERS |= {"transformer.epochs": 8, "mctn.epochs": 6, "momke.epochs": 5}
MEASURES = {"had": "with all that an utterance has", "missing": "average over the missing conditions"}


def corpus_at(rate: float, store: Store) -> Corpus:
    """`digits` with modalities removed from the utterances of all sets; a higher rate removes the same and more."""
    name = f"digits-missing-{100 * rate:.0f}"
    try:
        return find_corpus(name, store.root)
    except UserError:
        digits = find_corpus("digits", store.root)
    rates = dict.fromkeys(digits.letters, rate)
    present = torch.from_numpy(digits.present)
    removed = draw_removed(present, digits.letters, rates, torch.Generator().manual_seed(0)).numpy()
    sequences = {m: digits.sequences[m].keep(~removed[:, index]) for index, m in enumerate(digits.letters)}
    whole = digits.folds[1]
    folds = {1: Fold(whole.train[::4], whole.validation[::2], whole.test)}
    changed = replace(digits, name=name, sequences=sequences, folds=folds, best={}, fingerprint="")
    return write_corpus(changed, folder_for(name, store.root))


def accuracies(rate: float, store: Store) -> pd.DataFrame:
    """WA in % of every run, with the columns system, seed, rate and those of `MEASURES`."""
    configuration = {
        "name": f"missing-{100 * rate:.0f}",
        "systems": list(systems()),
        "hyperparameters": HYPERPARAMETERS,
    }
    corpus = corpus_at(rate, store)
    result = ifmmin.run(configuration, corpus=corpus.name, folds="1", seeds=SEEDS, storage=store.location, track=False)
    predictions = result.predictions.assign(available=result.predictions["condition"].map(len))
    runs = ["system", "seed"]
    last = predictions.sort_values("available", kind="stable").groupby([*runs, "utterance"], sort=False).tail(1)
    had = (last["label"] == last["prediction"]).groupby([last[name] for name in runs]).mean().rename("had")
    average = result.scores[result.scores["condition"] == "average"].set_index(runs)["wa"].rename("missing")
    return (100 * pd.concat([had, average], axis=1)).reset_index().assign(rate=rate)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """A panel for each measure: a line for each system with the deviation over the seeds."""
    figure, axes = panels(1, len(MEASURES), width=5.2, height=4.2)
    for panel, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        for index, system in enumerate(systems()):
            colour, marker, line = style(index)
            rows = frame[frame["system"] == system].groupby("rate")[measure]
            panel.errorbar(
                rows.mean().index + 0.004 * (index - len(systems()) / 2),
                rows.mean(),
                rows.std(),
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=4,
                linewidth=1.2,
                elinewidth=0.8,
                label=system,
            )
        panel.set(title=title, xlabel="rate at which modalities are removed, all sets", ylim=(0, 100), xticks=RATES)
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("WA, %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside right upper")
    figure.set_size_inches(12.4, 4.2)
    figure.savefig(path, dpi=120)


def table(frame: pd.DataFrame) -> str:
    """Means and deviations over the seeds in Markdown, for each measure."""
    lines = [f"| WA in %, {MEASURES['had']} | {' | '.join(f'{rate:g}' for rate in RATES)} |"]
    lines.append("| :-- |" + " --: |" * len(RATES))
    for measure in MEASURES:
        if measure != "had":
            lines.append(f"| **{MEASURES[measure]}** |" + "  |" * len(RATES))
        for system in systems():
            rows = frame[frame["system"] == system].groupby("rate")[measure]
            cells = [f"{mean:.1f} ± {std:.1f}" for mean, std in zip(rows.mean(), rows.std(), strict=True)]
            lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    store = Store(sys.argv[1] if len(sys.argv) > 1 else ifmmin.STORAGE)
    frame = pd.concat([accuracies(rate, store) for rate in RATES], ignore_index=True)
    draw(frame, Path(__file__).with_suffix(".png"))
    sys.stdout.write(table(frame) + "\n")


if __name__ == "__main__":
    main()
