"""Published accuracies for IEMOCAP with four classes, to compare an experiment with."""

import pandas as pd

from ifmmin.data.audit import is_iemocap
from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError
from ifmmin.data.modalities import AVT, letters_of
from ifmmin.orchestrator.analysis.scores import METRICS, columns_of

LETTERS = letters_of(AVT)

_FIGURES: dict[str, dict[str, tuple[float, ...]]] = {
    "MMIN, as repeated in 2026": {
        "wa": (56.58, 52.52, 66.57, 63.99, 72.94, 71.67, 64.05),
        "ua": (59.00, 50.60, 68.02, 63.43, 71.14, 68.61, 63.47),
    },
    "IF-MMIN, an independent re-run": {"ua": (56.4, 51.1, 66.4, 65.0, 74.2, 72.0, 64.2, 77.2)},
    "CIF-MMIN": {
        "wa": (57.53, 53.46, 67.22, 64.99, 74.19, 72.40, 64.97),
        "ua": (60.06, 51.56, 68.99, 63.53, 72.59, 69.91, 64.44),
    },
    "GCNet": {
        "wa": (65.58, 57.96, 72.33, 67.40, 77.02, 75.63, 69.32),
        "ua": (68.76, 52.54, 70.42, 65.64, 76.87, 73.62, 67.98),
    },
    "MoMKE, with other features": {
        "wa": (69.53, 56.80, 77.30, 68.57, 79.03, 75.55, 71.13),
        "ua": (70.21, 52.03, 77.66, 66.22, 79.88, 74.18, 70.03),
    },
}
"""In %, by system and metric, in the order of the tables; the full condition where it was published. MMIN, CIF-MMIN,
GCNet and MoMKE are from one comparison of 2026; the re-run of IF-MMIN is the mean of the figures for women and men in a
public study of gender bias over ten folds."""


def published_summary(corpus: Corpus) -> pd.DataFrame:
    """The published accuracies, with the columns of `analysis.scores.summarise`; what was not published is NaN.

    Raises:
        UserError: the corpus is not IEMOCAP with its four classes.
    """
    if not is_iemocap(corpus.names) or len(corpus.classes) != 4 or corpus.letters != LETTERS:
        raise UserError(
            f"Published figures are for IEMOCAP with four classes and the modalities {', '.join(LETTERS)}, and "
            f"'{corpus.name}' is not that."
        )
    rows = []
    for system, metrics in _FIGURES.items():
        for index, condition in enumerate(columns_of(LETTERS)):
            values = {name: figures[index] / 100 for name, figures in metrics.items() if index < len(figures)}
            rows.append({"system": system, "condition": condition, **values})
    moments = [name for metric in METRICS for name in (metric, f"{metric}_std")]
    return pd.DataFrame(rows).reindex(columns=["system", "condition", "runs", "folds", "seeds", "utterances", *moments])
