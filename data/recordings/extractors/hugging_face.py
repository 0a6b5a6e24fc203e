"""`hf-audio`, `hf-vision` and `hf-text`: encoders of the package transformers, from a folder with a model.

A model is a `config.json`, its weights in `*.safetensors`, and the files of its preprocessing. Clips are encoded one
at a time: padded in a batch, models with group normalisation give other features.
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ifmmin.data.errors import listed
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import RecordingError, read_audio, read_frames, resample
from ifmmin.data.recordings.extractors.extractor import Extractor, ExtractorError, Features, hash_of, need

FRAMES_AT_ONCE = 16
"""Pictures in a forward pass; each is encoded for itself."""

MAX_TOKENS = 128
"""Of a text, the special ones included; what follows is cut off."""

LOCAL = {"local_files_only": True, "trust_remote_code": False}


class _Model(Extractor):
    """A model in a folder, loaded by the first clip.

    Args:
        folder: of the model.
        device: `cpu` or `cuda`.

    Raises:
        ExtractorError: the folder is missing or lacks a file, or transformers is not installed.
    """

    licence = "that of the model in the folder"
    packages = ("av", "scipy", "transformers")
    uses_gpu = True
    kind: str
    unused: tuple[str, ...] = ("pooler", "masked_spec_embed", "decoder")
    """Parts of names of weights on which no feature depends."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        need("transformers", "transformers", self.kind)
        if not folder.is_dir():
            raise ExtractorError(f"Extractor {self.kind}: the folder {folder} is missing; save a model in it first.")
        if not (folder / "config.json").is_file():
            raise ExtractorError(f"Extractor {self.kind}: {folder} holds no config.json, so no model of transformers.")
        if not any(folder.glob("*.safetensors")):
            raise ExtractorError(
                f"Extractor {self.kind}: {folder} holds no weights as safetensors, and pickles are not loaded; save "
                "the model again with save_pretrained."
            )
        self.name = self.kind
        self._folder, self._device = folder, device
        self._loaded: tuple[Any, Any] | None = None
        self.weights = hash_of(sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES))
        self._config = _configuration(folder)

    def _load(self) -> tuple[Any, Any]:
        """The model and its preprocessing."""
        if self._loaded is None:
            import torch
            import transformers
            from safetensors import SafetensorError

            torch.set_num_threads(1)
            transformers.logging.set_verbosity_error()
            transformers.logging.disable_progress_bar()
            try:
                model, loaded = transformers.AutoModel.from_pretrained(
                    self._folder, use_safetensors=True, output_loading_info=True, **LOCAL
                )
                preprocessing = self._preprocessing()
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                line = str(error).strip().splitlines()[0].rstrip(".")
                raise ExtractorError(
                    f"The model in {self._folder} cannot be loaded ({line}); copy or save it again."
                ) from None
            self._check(sorted(loaded["missing_keys"]))
            self._loaded = model.eval().to(self._device), preprocessing
        return self._loaded

    def _check(self, missing: list[str]) -> None:
        """Refuse weights that would be drawn at random, unless nothing depends on them.

        Raises:
            ExtractorError: there are some.
        """
        needed = [name for name in missing if not any(unused in name for unused in self.unused)]
        if needed:
            raise ExtractorError(
                f"The weights in {self._folder} lack {listed(needed, 3)}; save the model as its config.json says it is."
            )

    def _preprocessing(self) -> Any:
        raise NotImplementedError


_SUFFIXES = {".json", ".safetensors", ".txt", ".model"}


class SpeechModel(_Model):
    """The last hidden states of wav2vec 2.0, HuBERT, WavLM or the encoder of Whisper, 50 a second."""

    kind = "hf-audio"
    version = "1"
    reads = "audio"
    rate = 50.0

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        super().__init__(folder, device)
        self.dimension = _width(self._config, folder)

    def extract(self, clip: Clip) -> Features:
        """A frame for each 20 ms."""
        import torch

        samples, rate = read_audio(clip)
        model, preprocessing = self._load()
        wanted = preprocessing.sampling_rate
        samples = resample(samples, rate, wanted)
        if len(samples) < wanted // 40:
            raise RecordingError(f"is too short: {len(samples) / wanted:.3f} s of sound, {self.name} needs 0.025 s")
        whisper = hasattr(model, "decoder")
        parts = list(_windows(samples, 30 * wanted)) if whisper else [samples]
        encoder = model.get_encoder() if whisper else model
        states = []
        with torch.inference_mode():
            for part in parts:
                inputs = preprocessing(part, sampling_rate=wanted, return_tensors="pt").to(self._device)
                name = preprocessing.model_input_names[0]
                hidden = encoder(inputs[name]).last_hidden_state[0].float().cpu().numpy()
                # Whisper pads each part to 30 s
                states.append(hidden[: -(-len(part) * 50 // wanted)] if whisper else hidden)
        return np.concatenate(states)

    def _preprocessing(self) -> Any:
        from transformers import AutoFeatureExtractor

        return AutoFeatureExtractor.from_pretrained(self._folder, **LOCAL)


class VisionModel(_Model):
    """One vector for each picture: the pooled output of CLIP, ViT and the like; 5 pictures a second, whole."""

    kind = "hf-vision"
    version = "1"
    reads = "video"
    rate = 5.0
    unused = ()

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        super().__init__(folder, device)
        self.dimension = _width(self._config.get("vision_config", self._config), folder)

    def extract(self, clip: Clip) -> Features:
        """A frame for each picture."""
        import torch

        pictures = (picture for _, picture in read_frames(clip, self.rate or 1.0))
        states = []
        model, preprocessing = self._load()
        model = getattr(model, "vision_model", model)
        with torch.inference_mode():
            while some := list(islice(pictures, FRAMES_AT_ONCE)):
                inputs = preprocessing(images=some, return_tensors="pt").to(self._device)
                output = model(pixel_values=inputs["pixel_values"])
                pooled = getattr(output, "pooler_output", None)
                states.append((output.last_hidden_state.mean(1) if pooled is None else pooled).float().cpu().numpy())
        return np.concatenate(states)

    def _preprocessing(self) -> Any:
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(self._folder, **LOCAL)


class TextModel(_Model):
    """The last hidden states of BERT and the like, one for each token but the special ones."""

    kind = "hf-text"
    version = "1"
    reads = "text"
    encoder = "textcnn"

    def __init__(self, folder: Path, device: str = "cpu", max_tokens: int = MAX_TOKENS) -> None:
        super().__init__(folder, device)
        self.dimension = _width(self._config, folder)
        self.hyperparameters = {"max_tokens": max_tokens}

    def extract(self, clip: Clip) -> Features:
        """A frame for each token; none of a clip without words."""
        import torch

        model, tokenizer = self._load()
        most = min(self.hyperparameters["max_tokens"], self._config.get("max_position_embeddings") or 10**6)
        tokens = tokenizer(
            (clip.text or "").strip(),
            truncation=True,
            max_length=most,
            return_special_tokens_mask=True,
            return_tensors="pt",
        ).to(self._device)
        words = tokens.pop("special_tokens_mask")[0] == 0
        if not words.any():
            return np.zeros((0, self.dimension), np.float32)
        with torch.inference_mode():
            states: Features = model(**tokens).last_hidden_state[0][words].float().cpu().numpy()
        return states

    def _preprocessing(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder, **LOCAL)


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        configuration: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise ExtractorError(f"{folder / 'config.json'} is damaged ({error}); save the model again.") from None
    return configuration


def _width(configuration: dict[str, Any], folder: Path) -> int:
    for name in ("hidden_size", "d_model", "dim"):
        if isinstance(configuration.get(name), int):
            return int(configuration[name])
    raise ExtractorError(f"{folder / 'config.json'} names no hidden_size, so the model is not one that is known here.")


def _windows(samples: Features, length: int) -> Iterator[Features]:
    for first in range(0, len(samples), length):
        yield samples[first : first + length]
