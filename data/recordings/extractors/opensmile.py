"""`comparE` and `egemaps`: low-level descriptors by openSMILE, an optional package under a research licence."""

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import RecordingError, read_audio
from ifmmin.data.recordings.extractors.extractor import Extractor, Features, need

if TYPE_CHECKING:
    from opensmile import Smile

LICENCE = (
    "openSMILE's: free for private, research and teaching use; products, also those that use features made with it, "
    "need a licence of audEERING"
)
SLOWER = 10
"""From 100 frames a second to 10, as the authors of MMIN make them."""

SHORTEST = 11
"""Frames of openSMILE, 0.15 s."""


class _LowLevelDescriptors(Extractor):
    """Descriptors at 100 frames a second, resampled to 10."""

    reads = "audio"
    rate = 10.0
    licence = LICENCE
    packages = ("av", "opensmile", "scipy")
    padding: Literal["constant", "line"]
    """What `scipy.signal.resample_poly` assumes beyond the ends of a clip."""

    def __init__(self) -> None:
        need("opensmile", "opensmile", self.name)
        from importlib.metadata import version

        self.hyperparameters = {"opensmile": version("opensmile"), "padding": self.padding}
        self._smile: Smile | None = None

    def extract(self, clip: Clip) -> Features:
        """Ten frames a second."""
        from scipy.signal import resample_poly

        if self._smile is None:
            self._smile = self._start()
        samples, rate = read_audio(clip)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of clips that are too short, which are refused below
            frames = self._smile.process_signal(samples, rate).to_numpy(np.float64)
        if len(frames) < SHORTEST:
            raise RecordingError(f"is too short: {len(samples) / rate:.3f} s of sound, {self.name} needs 0.15 s")
        if not np.isfinite(frames).all():
            raise RecordingError(f"gives descriptors that are not finite ({self.name})")
        return np.asarray(resample_poly(frames, 1, SLOWER, axis=0, padtype=self.padding), np.float32)

    def _start(self) -> "Smile":
        raise NotImplementedError


class ComparE(_LowLevelDescriptors):
    """The 65 descriptors of ComParE_2016, then their 65 deltas, as MMIN has them.

    What lies beyond the ends of a clip counts as zero, so that the first frame is about half of what it should be.
    """

    name = "comparE"
    version = "1"
    dimension = 130
    padding = "constant"

    def _start(self) -> "Smile":
        from opensmile import FeatureSet, Smile

        return Smile(FeatureSet.ComParE_2016, "lld;lld_de", num_workers=1)


class EGeMAPS(_LowLevelDescriptors):
    """The 25 descriptors of eGeMAPSv02."""

    name = "egemaps"
    version = "1"
    dimension = 25
    padding = "line"

    def _start(self) -> "Smile":
        from opensmile import FeatureLevel, FeatureSet, Smile

        return Smile(FeatureSet.eGeMAPSv02, FeatureLevel.LowLevelDescriptors, num_workers=1)
