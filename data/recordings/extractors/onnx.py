"""`onnx`: a network of the user's for pictures, in a file of that format with a sidecar that says what it reads.

Beside `network.onnx` lies `network.yaml`:

    size: [224, 224]              # width and height
    colours: RGB                  # or BGR, or grey
    crop: face                    # the face that `face` finds, aligned; or frame, the whole picture
    scale: 0.00392156862745098    # of the values 0 to 255; then the mean is taken off and the deviation divided by
    mean: [0.485, 0.456, 0.406]   # one for each colour
    deviation: [0.229, 0.224, 0.225]
    rate: 10                      # pictures a second
    input: pixels                 # names of its input and output; by default the first of each
    output: features
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.errors import nearest
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import Picture, RecordingError, read_frames
from ifmmin.data.recordings.extractors.extractor import Extractor, ExtractorError, Features, hash_of, need

DEFAULTS: dict[str, Any] = {
    "colours": "RGB",
    "crop": "frame",
    "scale": 1 / 255,
    "mean": [0.0],
    "deviation": [1.0],
    "rate": 10.0,
    "input": None,
    "output": None,
}
COLOURS = {"RGB": 3, "BGR": 3, "grey": 1}
CROPS = ("face", "frame")


class OnnxModel(Extractor):
    """One vector for each picture, the output of a network; zeros where a face is wanted and there is none.

    Args:
        file: the network; its sidecar has the same name and ends in `.yaml`.

    Raises:
        ExtractorError: a file is missing or damaged, the sidecar is not valid, or onnxruntime is not installed.
    """

    name = "onnx"
    version = "1"
    reads = "video"
    licence = "that of the network"
    packages = ("av", "h5py", "onnxruntime", "opencv-python-headless", "PyYAML")

    def __init__(self, file: Path) -> None:
        need("onnxruntime", "onnxruntime", "onnx")
        sidecar = file.with_suffix(".yaml")
        for needed in (file, sidecar):
            if not needed.is_file():
                raise ExtractorError(f"Extractor onnx: {needed} is missing; it needs the network and its sidecar.")
        self.hyperparameters = read_sidecar(sidecar)
        self.rate = float(self.hyperparameters["rate"])
        self._session = _session(file)
        self.weights = hash_of([file])
        self._input = _chosen(self._session.get_inputs(), self.hyperparameters["input"], sidecar)
        self._output = _chosen(self._session.get_outputs(), self.hyperparameters["output"], sidecar)
        self.dimension = self._run(np.zeros((*self.hyperparameters["size"][::-1], 3), np.uint8)).size
        self._face: Any = None
        if self.hyperparameters["crop"] == "face":
            from ifmmin.data.recordings.extractors.face import Face

            self._face = Face()
            self.weights += self._face.weights

    def extract(self, clip: Clip) -> Features:
        """A frame for each picture."""
        pictures = [self._cropped(picture) for _, picture in read_frames(clip, self.rate or 1.0)]
        blank = np.zeros(self.dimension, np.float32)
        if all(picture is None for picture in pictures):
            raise RecordingError(f"shows no face in {len(pictures)} pictures")
        return np.stack([blank if picture is None else self._run(picture) for picture in pictures])

    def _cropped(self, picture: Picture) -> Picture | None:
        import cv2

        if self._face is None:
            return np.asarray(cv2.resize(picture, self.hyperparameters["size"], interpolation=cv2.INTER_AREA), np.uint8)
        face: Picture | None = self._face.cropped(picture, tuple(self.hyperparameters["size"]))
        return face

    def _run(self, picture: Picture) -> NDArray[np.float32]:
        prepared = self.hyperparameters
        if prepared["colours"] == "grey":
            picture = np.asarray(np.round(picture @ [0.299, 0.587, 0.114])[..., None], np.uint8)
        elif prepared["colours"] == "BGR":
            picture = picture[..., ::-1]
        values = (picture.astype(np.float32) * prepared["scale"] - prepared["mean"]) / prepared["deviation"]
        batch = np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)
        return np.asarray(self._session.run([self._output], {self._input: batch})[0], np.float32).reshape(-1)


def read_sidecar(file: Path) -> dict[str, Any]:
    """What a sidecar says, with defaults.

    Raises:
        ExtractorError: it is not valid.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExtractorError(f"{file} is not YAML ({str(error).splitlines()[0]}).") from None
    if not isinstance(content, dict) or "size" not in content:
        raise ExtractorError(f"{file} must name a size, as in size: [224, 224].")
    known = ["size", *DEFAULTS]
    for key in content:
        if key not in known:
            raise ExtractorError(f"{file}: '{key}' is unknown; {nearest(str(key), known)}")
    read = {**DEFAULTS, **content}
    problem = _problem(read)
    if problem:
        raise ExtractorError(f"{file}: {problem}.")
    return read


def _problem(read: dict[str, Any]) -> str:
    """What is wrong with a sidecar; empty if nothing is."""
    size = read["size"]
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        return "size must be a width and a height, as in [224, 224]"
    if read["colours"] not in COLOURS:
        return f"colours: {nearest(str(read['colours']), COLOURS)}".rstrip(".")
    if read["crop"] not in CROPS:
        return f"crop: {nearest(str(read['crop']), CROPS)}".rstrip(".")
    for key in ("mean", "deviation"):
        if not (isinstance(read[key], list) and len(read[key]) in (1, COLOURS[read["colours"]])):
            return f"{key} must be a list of one number for each colour"
    return "" if _positive(read["rate"]) and _positive(read["scale"]) else "rate and scale must be numbers above 0"


def _positive(number: Any) -> bool:
    return isinstance(number, int | float) and number > 0


def _session(file: Path) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ExtractorError(f"{file} cannot be loaded: {str(error).splitlines()[0]}") from None


def _chosen(ports: list[Any], wanted: str | None, sidecar: Path) -> str:
    names = [port.name for port in ports]
    if wanted is not None and wanted not in names:
        raise ExtractorError(f"{sidecar}: '{wanted}' is unknown; {nearest(wanted, names)}")
    return wanted or names[0]
