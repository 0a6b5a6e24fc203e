"""The trained runs of a system as a model in MLflow, which `mlflow models serve` serves.

The model holds its own weights and code, so that it answers wherever the packages it names are installed. There this
module needs nothing else of `ifmmin.orchestrator`. Nothing in it is pickled.
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import safetensors.numpy
from numpy.typing import NDArray

from ifmmin.data.corpus import Features, Provenance
from ifmmin.data.errors import UserError
from ifmmin.data.modalities import Modality
from ifmmin.data.recordings.extractors import ExtractorError, make_extractor
from ifmmin.data.recordings.extractors import modules as extractor_modules
from ifmmin.data.recordings.requests import COLUMNS, extract_received
from ifmmin.model.ensemble import TrainedRun, predict_utterances
from ifmmin.model.program import Program
from ifmmin.model.systems import load_program

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

NAME = "model"
OF_RUNS = "ifmmin.runs"
"""Tag of a model: which runs it holds."""

REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "torch")
PROGRAM = "program/program.json"
"""Where a model keeps the program of a system from outside the package."""

EXTRACTORS = "recordings/extractors.json"
"""Where a model keeps how the features of its modalities are made from recordings."""

_ROOTS = TrainedRun.__module__, extract_received.__module__
_ARRAYS = "statistics", "weights"


def log_model(
    client: "MlflowClient",
    run_id: str,
    runs: Iterable[TrainedRun],
    identity: str,
    program: Program | None = None,
    extractors: Mapping[str, Provenance] | None = None,
) -> None:
    """Write trained runs as the model of a run of MLflow, unless that has it; it replaces one of other runs.

    Args:
        identity: of these runs.
        program: of the system, if it is from outside the package.
        extractors: by letter, those of a corpus that was made from recordings.
    """
    from ifmmin.orchestrator.tracking.client import prepare_environment

    prepare_environment()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint", UserWarning)  # of MLflow about its own classes
        import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    run = client.get_run(run_id)
    outputs = run.outputs.model_outputs if run.outputs else []
    earlier = [client.get_logged_model(output.model_id) for output in outputs]
    if any(model.tags.get(OF_RUNS) == identity for model in earlier):
        return
    with tempfile.TemporaryDirectory() as scratch:
        content, code, folder = (Path(scratch) / part for part in ("runs", "code", "model"))
        first = write_runs(runs, content)
        if program is not None:
            _write(content / PROGRAM, program.content)
        if extractors:
            _write(content / EXTRACTORS, {letter: asdict(how) for letter, how in extractors.items()})
        _copy_code(code, program, recordings=bool(extractors))
        required = _requirements(program, extractors or {})
        logged = client.create_logged_model(
            run.info.experiment_id, NAME, run_id, tags={OF_RUNS: identity}, params=run.data.params
        )
        mlflow.pyfunc.save_model(
            folder,
            loader_module=__name__,
            data_path=str(content),
            code_paths=[str(package) for package in code.iterdir()],
            mlflow_model=Model(run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id),
            signature=_signature(first, COLUMNS if extractors else ()),
            input_example=_example(first),
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in required],
        )
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=len(outputs))])


def write_runs(runs: Iterable[TrainedRun], folder: Path) -> TrainedRun:
    """Write runs into a new folder, `NUMBER.json` and `NUMBER.safetensors` for each; returns the first."""
    folder.mkdir()
    first: TrainedRun | None = None
    for number, run in enumerate(runs):
        first = first or run
        about = {item.name: getattr(run, item.name) for item in fields(run) if item.name not in _ARRAYS}
        about["modalities"] = [asdict(modality) for modality in run.modalities]
        arrays = {f"weights/{n}/{name}": value for n, part in enumerate(run.weights) for name, value in part.items()}
        arrays |= {f"statistics/{modality}": np.stack(pair) for modality, pair in run.statistics.items()}
        (folder / f"{number:04}.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        safetensors.numpy.save_file(arrays, folder / f"{number:04}.safetensors")
    assert first is not None
    return first


def read_runs(folder: Path) -> list[TrainedRun]:
    """The runs that `write_runs` wrote, in their order."""
    runs = []
    for file in sorted(folder.glob("*.json")):
        about = json.loads(file.read_text(encoding="utf-8"))
        arrays = safetensors.numpy.load_file(file.with_suffix(".safetensors"))
        about["modalities"] = tuple(Modality(**modality) for modality in about["modalities"])
        standardised = [modality.letter for modality in about["modalities"] if modality.standardised]
        stacked = {letter: arrays.pop(f"statistics/{letter}") for letter in standardised}
        weights: dict[int, dict[str, NDArray[np.float32]]] = {}
        for key, value in arrays.items():
            _, network, name = key.split("/", 2)
            weights.setdefault(int(network), {})[name] = value
        statistics = {m: (pair[0], pair[1]) for m, pair in stacked.items()}
        runs.append(TrainedRun(**about, statistics=statistics, weights=[weights[n] for n in sorted(weights)]))
    return runs


@dataclass(frozen=True)
class ServedModel:
    """What MLflow calls: utterances in, predictions out; see `model.ensemble.predict_utterances`."""

    runs: list[TrainedRun]
    extractors: Mapping[str, Provenance] = field(default_factory=dict)

    def predict(self, inputs: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Predict the utterances of a frame.

        Args:
            inputs: columns utterance, and the letter of each modality: time steps, each a list of features. A modality
                that is None, NaN or an empty list, or has no column, is missing; an utterance without any has no row in
                the answer. Of a corpus that was made from recordings also audio and video, the content of a file in
                base64, and text; features that are given are not extracted.
            params: `every_condition`, and `fold` and `seed` of the runs to use, by default all.

        Raises:
            MlflowException: the inputs cannot be predicted; one sentence says why.
        """
        from mlflow.exceptions import MlflowException

        params = params or {}
        fold, seed = params.get("fold"), params.get("seed")
        runs = [run for run in self.runs if fold in (None, run.fold) and seed in (None, run.seed)]
        try:
            if not runs:
                raise UserError("No run of the model has this fold and seed.")
            features = {
                letter: [_features(letter, part) for part in inputs.get(letter, [None] * len(inputs))]
                for letter in runs[0].letters
            }
            names = [str(name) for name in inputs["utterance"]]
            self._extract(names, inputs, features)
            return predict_utterances(runs, names, features, every_condition=bool(params.get("every_condition")))
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _extract(self, names: Sequence[str], inputs: pd.DataFrame, features: Features) -> None:
        """Complete features by those of recordings."""
        recorded = {column: inputs[column].tolist() for column in COLUMNS if column in inputs}
        if not recorded or not self.extractors:
            return
        for letter, parts in extract_received(names, recorded, self.extractors).items():
            pairs = zip(features[letter], parts, strict=True)
            features[letter] = [extracted if known is None else known for known, extracted in pairs]


def _load_pyfunc(path: str) -> ServedModel:
    """What MLflow looks for in a model's loader module."""
    if (file := Path(path) / PROGRAM).is_file():
        load_program(Program.of(json.loads(file.read_text(encoding="utf-8"))))
    extractors = {}
    if (file := Path(path) / EXTRACTORS).is_file():
        content = json.loads(file.read_text(encoding="utf-8"))
        extractors = {letter: Provenance(**how) for letter, how in content.items()}
    return ServedModel(read_runs(Path(path)), extractors)


def _features(letter: str, part: Any) -> NDArray[np.float32] | None:
    if part is None or (isinstance(part, float) and np.isnan(part)):
        return None
    try:
        return np.asarray(part, np.float32)
    except (ValueError, TypeError):
        raise UserError(f"Modality {letter} must be time steps, each a list of as many numbers.") from None


def _signature(run: TrainedRun, recordings: Sequence[str]) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    # Of arrays of doubles MLflow refuses whole numbers, and of strings names that are numbers; `predict` checks both.
    anything = AnyType()  # type: ignore[no-untyped-call]
    inputs: list[ColSpec | TensorSpec] = [ColSpec(anything, "utterance")]
    inputs += [ColSpec(anything, name, required=False) for name in (*run.letters, *recordings)]
    texts: list[ColSpec | TensorSpec] = [ColSpec("string", name) for name in ("utterance", "condition", "prediction")]
    outputs = [*texts, *(ColSpec("float", f"p_{name}") for name in run.classes)]
    params = [ParamSpec("every_condition", "boolean", False), *(ParamSpec(n, "long", None) for n in ("fold", "seed"))]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))


def _example(run: TrainedRun) -> pd.DataFrame:
    """An example of a request."""
    steps = {letter: [[[0.0] * run.dimensions[letter]]] for letter in run.letters}
    return pd.DataFrame({"utterance": ["silence"], **steps})


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _requirements(program: Program | None, extractors: Mapping[str, Provenance]) -> list[str]:
    """The distributions that a served model needs, with those of its extractors and of a system from outside."""
    others = {name for how in extractors.values() for name in _packages(how)}
    if program is not None:
        providers = packages_distributions()
        others |= {name for top in program.imported_packages() for name in providers.get(top, [])}
    return [*REQUIREMENTS, *sorted(others - {*REQUIREMENTS, "ifmmin"})]


def _packages(how: Provenance) -> Sequence[str]:
    """The distributions that an extractor imports, where it can be made on this machine."""
    try:
        return make_extractor(how.extractor).packages
    except ExtractorError:
        return ()


def _copy_code(folder: Path, program: Program | None, *, recordings: bool) -> None:
    """The modules that a served model needs, all below `ifmmin`; other modules of their packages are not included."""
    from ifmmin.model.source import reached_modules, source_file

    root = Path(__file__).parents[3]
    imported = program.imported_modules() if program else ()
    for module in (__name__, *reached_modules([*_ROOTS, *imported, *(extractor_modules() if recordings else ())])):
        file = source_file(module)
        copy = folder / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    for package in (path for path in folder.rglob("*") if path.is_dir()):
        if not (package / "__init__.py").exists():
            (package / "__init__.py").write_text(
                '"""The part of a package that a served model needs."""\n', encoding="utf-8"
            )
