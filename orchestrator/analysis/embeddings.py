"""The features that a system embeds, in the plane; for IF-MMIN the invariant ones, as its paper pictures them."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import ALL_CONDITIONS, Condition
from ifmmin.model.definition import Network, Shape, StageDefinition
from ifmmin.model.run import stage_generator
from ifmmin.model.systems import SYSTEMS
from ifmmin.model.training import trained_network
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import Run

UTTERANCES = 100
FULL = Condition.AVT


def embed_invariant_features(experiment: Experiment, run: Run) -> pd.DataFrame | None:
    """t-SNE, in one plane, of a system's embedding under all conditions, for up to 100 test utterances of a run.

    Columns: system, fold, seed, condition, label, x, y. None if the system has no embedding.

    Args:
        run: all of whose stages are in the store.
    """
    features = _features(experiment, run)
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
            "condition": np.repeat(ALL_CONDITIONS, count).tolist(),
            "label": np.tile(labels, len(stacked)),
            "x": plane[:, 0],
            "y": plane[:, 1],
        }
    )


@torch.no_grad()
def _features(experiment: Experiment, run: Run) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """What the system of a run embeds, (conditions, utterances, features), and the labels."""
    system = SYSTEMS[run.system]
    if system.embedding is None:
        return None
    networks = {stage: _network(experiment, run, stage, definition) for stage, definition in system.stages.items()}
    test = Examples(experiment.corpus, run.fold, "test")
    drawn = torch.randperm(len(test), generator=stage_generator(run.seed, run.fold, "report", "utterances"))
    batch = test.batch(drawn[:UTTERANCES].sort().values)
    return system.embedding(networks, batch).numpy(), batch.labels.numpy()


def _network(experiment: Experiment, run: Run, stage: str, definition: StageDefinition) -> Network:
    keys = [run.stages[name] for name in definition.stage_names(stage)]
    hyperparameters = definition.make_hyperparameters(experiment.plan.stages[keys[0]].hyperparameters)
    weights = [experiment.store.read_weights(key) for key in keys]
    return trained_network(definition, hyperparameters, Shape.of(experiment.corpus), weights)
