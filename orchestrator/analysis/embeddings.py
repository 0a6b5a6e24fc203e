"""The features that a system's definition embeds, in the plane, by t-SNE."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifmmin.data.conditions import all_conditions
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.catalogue import load_outside_systems, systems
from ifmmin.orchestrator.planning.plan import Run

if TYPE_CHECKING:
    from ifmmin.model.definition import Network

UTTERANCES = 100


@dataclass(frozen=True)
class EmbeddedFeatures:
    """Features of one kind in the plane, of all systems that embed them.

    Attributes:
        title, meaning: see `model.definition.Embedding`.
        points: of `embed_run`, one system after the other.
    """

    title: str
    meaning: str
    points: pd.DataFrame


def embed_runs(experiment: Experiment, runs: Sequence[Run]) -> list[EmbeddedFeatures]:
    """The embedded features of the first run of each system that has an embedding."""
    first = {run.system: run for run in reversed(runs)}
    embedding = [name for name in dict.fromkeys(run.system for run in runs) if systems()[name].embeds]
    if not embedding:
        return []

    from ifmmin.model.systems import SYSTEMS

    load_outside_systems()

    points: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for name in embedding:
        described = SYSTEMS[name].embedding
        assert described is not None
        points.setdefault((described.title, described.meaning), []).append(embed_run(experiment, first[name]))
    return [EmbeddedFeatures(*described, pd.concat(frames)) for described, frames in points.items()]


def embed_run(experiment: Experiment, run: Run) -> pd.DataFrame:
    """The embedding of a system under all conditions, in one plane, for up to 100 test utterances of a run.

    Columns: system, fold, seed, condition, label, x, y.

    Args:
        run: of a system that has an embedding; all its stages are in the store.
    """
    from sklearn.manifold import TSNE

    features, labels = _embed(experiment, run)
    flat = features.reshape(-1, features.shape[-1])
    plane = TSNE(perplexity=min(30, (len(flat) - 1) / 3), init="pca", random_state=0).fit_transform(flat)
    return pd.DataFrame(
        {
            "system": run.system,
            "fold": run.fold,
            "seed": run.seed,
            "condition": np.repeat(all_conditions(experiment.corpus.letters), len(labels)).tolist(),
            "label": np.tile(labels, len(features)),
            "x": plane[:, 0],
            "y": plane[:, 1],
        }
    )


def _embed(experiment: Experiment, run: Run) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The features (conditions, utterances, features) and the labels."""
    import torch

    from ifmmin.data.batches import Examples
    from ifmmin.model.run import stage_generator
    from ifmmin.model.systems import SYSTEMS

    system = SYSTEMS[run.system]
    assert system.embedding is not None
    test = Examples(experiment.corpus, run.fold, "test")
    drawn = torch.randperm(len(test), generator=stage_generator(run.seed, run.fold, "report", "utterances"))
    batch = test.batch(drawn[:UTTERANCES].sort().values)
    with torch.no_grad():
        features = system.embedding.features(_networks(experiment, run), batch)
    return features.numpy(), batch.labels.numpy()


def _networks(experiment: Experiment, run: Run) -> "dict[str, Network]":
    """The trained network of each stage of a system."""
    from ifmmin.model.definition import Shape
    from ifmmin.model.systems import SYSTEMS
    from ifmmin.model.training import trained_network

    networks = {}
    for stage, definition in SYSTEMS[run.system].stages.items():
        keys = [run.stages[name] for name in definition.stage_names(stage, experiment.corpus.letters)]
        hyperparameters = definition.make_hyperparameters(experiment.plan.stages[keys[0]].hyperparameters)
        weights = [experiment.store.read_weights(key) for key in keys]
        networks[stage] = trained_network(definition, hyperparameters, Shape.of(experiment.corpus), weights)
    return networks
