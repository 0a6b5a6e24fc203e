"""Extractors by name: from here, from other packages (entry points of the group `ifmmin.extractors`), or from a file.

Nothing is downloaded: models come from an installed package, a folder or a file.
"""

import importlib.util
import inspect
import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ifmmin.data.errors import nearest
from ifmmin.data.paths import expand
from ifmmin.data.recordings.extractors.extractor import Extractor, ExtractorError, Reads

__all__ = ["DEFAULTS", "GROUP", "Extractor", "ExtractorError", "available", "make_extractor", "modules", "whole_spec"]

GROUP = "ifmmin.extractors"

DEFAULTS: Mapping[Reads, str] = {"audio": "log-mel", "video": "face", "text": "wordllama"}
"""The extractor for each thing that a clip may have."""

_PACKAGE = "ifmmin.data.recordings.extractors"
_BUILT_IN = {
    "log-mel": "log_mel:LogMel",
    "comparE": "opensmile:ComparE",
    "egemaps": "opensmile:EGeMAPS",
    "face": "face:Face",
    "wordllama": "wordllama:WordLlama",
}
_OF_MODELS = {
    "hf-audio": "hugging_face:SpeechModel",
    "hf-vision": "hugging_face:VisionModel",
    "hf-text": "hugging_face:TextModel",
    "onnx": "onnx:OnnxModel",
}
"""Extractors that take the folder or file of a model after a colon."""

_ATTRIBUTES = ("name", "version", "reads", "dimension", "rate", "licence", "encoder", "identity", "extract")


def available() -> list[str]:
    """The extractors that can be named; those that need a model with the word for it."""
    models = [f"{name}:{'FILE' if name == 'onnx' else 'FOLDER'}" for name in _OF_MODELS]
    return [*_BUILT_IN, *models, *sorted(entry.name for entry in entry_points(group=GROUP)), "FILE.py:NAME"]


def modules() -> list[str]:
    """The modules of this package that define extractors."""
    return sorted({f"{_PACKAGE}.{place.partition(':')[0]}" for place in (*_BUILT_IN.values(), *_OF_MODELS.values())})


def make_extractor(spec: str, device: str = "cpu") -> Extractor:
    """An extractor by its name.

    Args:
        spec: a name; `hf-audio:FOLDER` and the like, `hf-text:FOLDER?max_tokens=22` with another hyperparameter than by
            default; or `FILE.py:NAME`, a class or function without arguments.
        device: `cpu` or `cuda`, for those that compute on a GPU.

    Raises:
        ExtractorError: there is no such extractor, or it lacks a package, weights or attributes.
    """
    name, _, model = whole_spec(spec).partition(":")
    if spec in _BUILT_IN:
        return _class(_BUILT_IN[spec])()
    if name in _OF_MODELS:
        model, _, choice = model.partition("?")
        make = _class(_OF_MODELS[name])
        possible = inspect.signature(make).parameters
        options = {"device": device} if "device" in possible else {}
        return make(Path(model), **options, **_chosen(name, choice, sorted({*possible} - {"folder", "file", "device"})))
    if ".py:" in spec:
        return _checked(_from_file(*whole_spec(spec).rsplit(":", 1)), spec)
    for entry in entry_points(group=GROUP):
        if entry.name == spec:
            return _checked(entry.load()(), spec)
    raise ExtractorError(f"No extractor '{spec}'; {nearest(spec, available())}")


def whole_spec(spec: str) -> str:
    """A name of an extractor with an absolute path, so that it means the same in every process.

    Raises:
        ExtractorError: the model or file after or before the colon is missing.
    """
    name, colon, model = spec.partition(":")
    if name in _OF_MODELS:
        if not model:
            what = "file.onnx" if name == "onnx" else "folder"
            raise ExtractorError(f"Extractor {name} needs a model; write {name}:path/to/{what}.")
        return f"{name}:{_absolute(model)}"
    if ".py:" in spec:
        file, _, name = spec.rpartition(":")
        return f"{_absolute(file)}:{name}"
    return name + colon + model


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(expand(path)))  # noqa: PTH100  (links stay: a folder of the cluster may be one)


def _class(place: str) -> Callable[..., Extractor]:
    module, _, name = place.partition(":")
    made: Callable[..., Extractor] = getattr(import_module(f"{_PACKAGE}.{module}"), name)
    return made


def _chosen(extractor: str, choice: str, possible: list[str]) -> dict[str, int]:
    """The hyperparameters after a question mark, all of them whole numbers."""
    chosen = {}
    for part in filter(None, choice.split("&")):
        name, _, value = part.partition("=")
        if name not in possible:
            raise ExtractorError(f"Extractor {extractor} has no hyperparameter '{name}'; {nearest(name, possible)}")
        if not value.isdecimal() or int(value) == 0:
            raise ExtractorError(f"Extractor {extractor}: {name} must be a whole number above 0, not '{value}'.")
        chosen[name] = int(value)
    return chosen


@cache
def _module(file: str, _changed: int) -> Any:
    spec = importlib.util.spec_from_file_location(f"ifmmin_extractors_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise ExtractorError(f"{file} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _from_file(file: str, name: str) -> Any:
    if not Path(file).is_file():
        raise ExtractorError(f"The file {file} of extractor {name} is missing.")
    module = _module(file, Path(file).stat().st_mtime_ns)
    if not callable(getattr(module, name, None)):
        known = [other for other in vars(module) if not other.startswith("_")]
        raise ExtractorError(f"{file} has no extractor {name}; {nearest(name, known)}")
    return getattr(module, name)()


def _checked(extractor: Any, spec: str) -> Extractor:
    """An extractor of somebody else, as far as it has everything that one needs."""
    lacking = [attribute for attribute in _ATTRIBUTES if not hasattr(extractor, attribute)]
    if lacking:
        raise ExtractorError(
            f"Extractor {spec} lacks {', '.join(lacking)}; derive it from ifmmin.data.recordings.extractors.Extractor."
        )
    made: Extractor = extractor
    return made
