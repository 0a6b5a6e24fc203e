"""A corpus as a dataset of MLflow, which its pages show beside each run."""

import json
from typing import TYPE_CHECKING

from ifmmin.data.catalogue import FOLDER, SHIPPED
from ifmmin.data.folder import Folder
from ifmmin.orchestrator.experiment import Experiment

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput


def corpus_input(experiment: Experiment) -> "DatasetInput":
    """The corpus of an experiment: its name, its fingerprint as digest, its columns, where it is, and its size."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    corpus = experiment.corpus
    columns = {"utterance": "string", "label": "long"}
    columns |= {m: f"array(float), {parts.dimension} features a frame" for m, parts in corpus.sequences.items()}
    profile = {
        "utterances": len(corpus),
        "classes": list(corpus.classes),
        "folds": len(corpus.folds),
        "frames": {m: int(parts.offsets[-1]) for m, parts in corpus.sequences.items()},
    }
    schema = [
        {"name": name, "type": kind, "required": name in ("utterance", "label")} for name, kind in columns.items()
    ]
    return DatasetInput(
        Dataset(
            name=corpus.name,
            digest=corpus.fingerprint,
            source_type="local",
            source=json.dumps({"uri": _location(experiment)}),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps(profile),
        ),
        [InputTag("mlflow.data.context", "cross-validation")],
    )


def _location(experiment: Experiment) -> str:
    """Where `data.catalogue.find_corpus` found it."""
    name = experiment.corpus.name
    shipped = (SHIPPED / name).is_dir()
    return str(Folder(SHIPPED, name) if shipped else experiment.store.root / FOLDER / name)
