"""The invariant features of an IF-MMIN system in the plane, as the seed paper pictures them."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import MISSING_CONDITIONS, Condition
from ifmmin.model.definition import Network, Shape
from ifmmin.model.run import stage_generator
from ifmmin.model.systems import DEFINITIONS
from ifmmin.model.systems.if_mmin import IFMMIN, InvariancePretraining
from ifmmin.model.training import trained_network
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import Run

UTTERANCES = 100
FULL = Condition.AVT


def embed_invariant_features(experiment: Experiment, run: Run) -> pd.DataFrame | None:
    """t-SNE, in one plane, of H' in the six missing conditions and of H, for up to 100 test utterances of a run.

    Columns: system, fold, seed, condition (`avt` for H), label, x, y. None if the system has no invariance encoder.

    Args:
        run: all of whose stages are in the store.
    """
    features = _invariant_features(experiment, run)
    if features is None:
        return None
    stacked, labels = features
    count = len(labels)
    flat = stacked.reshape(-1, stacked.shape[-1])
    plane = TSNE(perplexity=min(30, (len(flat) - 1) / 3), init="pca", random_state=0).fit_transform(flat)
    return pd.DataFrame(
        {
            "system": run.system,
            "fold": run.fold,
            "seed": run.seed,
            "condition": np.repeat([*MISSING_CONDITIONS, FULL], count).tolist(),
            "label": np.tile(labels, len(stacked)),
            "x": plane[:, 0],
            "y": plane[:, 1],
        }
    )


@torch.no_grad()
def _invariant_features(experiment: Experiment, run: Run) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """H' by condition with H last, (7, utterances, 3 x hidden), and the labels."""
    last = experiment.plan.stages[list(run.stages.values())[-2]]
    if DEFINITIONS[last.recipe].conditions or not last.upstream:
        return None
    student, teacher = (_network(experiment, key) for key in (last.key, last.upstream[0]))
    if not isinstance(student, IFMMIN) or not isinstance(teacher, InvariancePretraining):
        return None
    test = Examples(experiment.corpus, run.fold, "test")
    drawn = torch.randperm(len(test), generator=stage_generator(run.seed, run.fold, "report", "utterances"))
    batch = test.batch(drawn[:UTTERANCES].sort().values)
    features = torch.cat(
        [student.invariant_features(batch, MISSING_CONDITIONS), teacher.invariant_features(batch, (FULL,))]
    )
    return features.numpy(), batch.labels.numpy()


def _network(experiment: Experiment, key: str) -> Network:
    stage = experiment.plan.stages[key]
    recipe = DEFINITIONS[stage.recipe]
    return trained_network(
        recipe, recipe.settings(stage.parameters), Shape.of(experiment.corpus), [experiment.store.read_weights(key)]
    )
