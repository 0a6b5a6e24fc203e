"""Tiny random models in folders and files, as users bring their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.extractors import ExtractorError, make_extractor
from tests.data.recordings.media import picture, tone, write_media, write_wav

pytest.importorskip("av")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("models")
    convolutions = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    transformers.WavLMModel(transformers.WavLMConfig(**SMALL, **convolutions)).save_pretrained(root / "wavlm")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(root / "wavlm")
    layers = {f"{part}_{what}": 2 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    tokens = {"vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    whisper = transformers.WhisperConfig(d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, **layers, **tokens)
    transformers.WhisperModel(whisper).save_pretrained(root / "whisper")
    transformers.WhisperFeatureExtractor().save_pretrained(root / "whisper")
    transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=9)).save_pretrained(root / "bert")
    (root / "bert" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcd"]))
    transformers.BertTokenizer(str(root / "bert" / "vocab.txt")).save_pretrained(root / "bert")
    clip = transformers.CLIPVisionConfig(**SMALL, image_size=32, patch_size=8)
    transformers.CLIPVisionModel(clip).save_pretrained(root / "clip")
    edge = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**edge).save_pretrained(root / "clip")
    return root


@pytest.mark.slow  # importing transformers takes some seconds
def test_a_model_of_speech_has_fifty_frames_a_second(models: Path, tmp_path: Path) -> None:
    extractor = make_extractor(f"hf-audio:{models / 'wavlm'}")
    clip = Clip("u", audio=write_wav(tmp_path / "u.wav", tone(3, 8_000), 8_000))
    features = extractor.extract(clip)
    assert features.shape == (149, 32)
    assert features.shape[1] == extractor.dimension
    np.testing.assert_array_equal(features, extractor.extract(clip))


@pytest.mark.slow  # importing transformers takes some seconds
def test_whisper_has_frames_for_the_sound_alone(models: Path, tmp_path: Path) -> None:
    clip = Clip("u", audio=write_wav(tmp_path / "u.wav", tone(31)))
    assert make_extractor(f"hf-audio:{models / 'whisper'}").extract(clip).shape == (31 * 50, 32)


@pytest.mark.slow  # importing transformers takes some seconds
def test_a_model_of_text_has_a_frame_for_each_token(models: Path) -> None:
    extractor = make_extractor(f"hf-text:{models / 'bert'}")
    assert extractor.extract(Clip("u", text="a b c d")).shape == (4, 32)
    assert extractor.extract(Clip("u", text="a " * 500)).shape == (126, 32)
    assert extractor.extract(Clip("u", text="")).shape == (0, 32)


@pytest.mark.slow  # importing transformers takes some seconds
def test_the_longest_text_may_be_chosen(models: Path) -> None:
    short, long = (
        make_extractor(f"hf-text:{models / 'bert'}?max_tokens=22"),
        make_extractor(f"hf-text:{models / 'bert'}"),
    )
    assert short.extract(Clip("u", text="a " * 500)).shape == (20, 32)
    assert short.identity() != long.identity()
    with pytest.raises(ExtractorError, match="did you mean 'max_tokens'"):
        make_extractor(f"hf-text:{models / 'bert'}?max_token=22")
    with pytest.raises(ExtractorError, match="max_tokens must be a whole number above 0"):
        make_extractor(f"hf-text:{models / 'bert'}?max_tokens=all")


@pytest.mark.slow  # importing transformers takes some seconds
def test_a_model_of_pictures_has_a_vector_for_each(models: Path, tmp_path: Path) -> None:
    path = write_media(tmp_path / "u.mp4", pictures=[picture(number) for number in range(20)])
    assert make_extractor(f"hf-vision:{models / 'clip'}").extract(Clip("u", video=path)).shape == (10, 32)


@pytest.mark.slow  # starts a process
def test_models_load_where_there_is_no_network(models: Path) -> None:
    program = f"""
import socket
def refuse(*arguments, **more):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.extractors import make_extractor
print(make_extractor("hf-text:{models / "bert"}").extract(Clip("u", text="a b")).shape)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ended.stdout.strip() == "(2, 32)", ended.stderr


@pytest.mark.slow  # importing transformers takes some seconds
def test_other_weights_are_another_identity(models: Path) -> None:
    weights = models / "bert" / "model.safetensors"
    before, content = make_extractor(f"hf-text:{models / 'bert'}").identity(), weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    after = make_extractor(f"hf-text:{models / 'bert'}").identity()
    weights.write_bytes(content)
    assert before != after


@pytest.mark.slow  # importing transformers takes some seconds
def test_a_damaged_model_is_refused_in_a_sentence(models: Path, tmp_path: Path) -> None:
    for name in ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((models / "bert" / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((models / "bert" / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ExtractorError, match="cannot be loaded"):
        make_extractor(f"hf-text:{tmp_path}").extract(Clip("u", text="a b"))


@pytest.mark.slow  # importing transformers takes some seconds
def test_weights_that_are_lacking_are_not_drawn_at_random(models: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    for file in (models / "bert").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    for end in ("layer.1.output.dense.weight", "pooler.dense.weight"):
        weights = {name: value for name, value in weights.items() if not name.endswith(end)}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExtractorError, match=r"lack encoder\.layer\.1\.output\.dense\.weight; save"):
        make_extractor(f"hf-text:{tmp_path}").extract(Clip("u", text="a b"))


def field(number: int, content: bytes | int) -> bytes:
    """A field of a message in the encoding of protocol buffers."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def write_network(path: Path, sidecar: str) -> Path:
    """A network that takes the mean of each colour."""
    dimensions = {"pixels": [b"n", b"c", b"h", b"w"], "means": [b"n", b"c", b"x", b"y"]}
    values = {}
    for name, names in dimensions.items():
        shape = b"".join(field(1, field(2, dimension)) for dimension in names)
        values[name] = field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, shape)))
    node = field(1, b"pixels") + field(2, b"means") + field(4, b"GlobalAveragePool")
    graph = field(1, node) + field(2, b"graph") + field(11, values["pixels"]) + field(12, values["means"])
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 13)))
    path.with_suffix(".yaml").write_text(sidecar)
    return path


def test_a_network_in_onnx_sees_colours_as_its_sidecar_says(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2")
    red = np.zeros((64, 96, 3), np.uint8)
    red[..., 0] = 200
    clip = Clip("u", video=write_media(tmp_path / "u.mp4", pictures=[red] * 20))
    expectations: dict[str, list[float]] = {
        "size: [32, 16]": [200 / 255, 0, 0],
        "{size: [32, 16], colours: BGR, scale: 1, mean: [10, 0, 0], deviation: [2]}": [-5, 0, 100],
        "{size: [32, 16], colours: grey, rate: 5}": [0.299 * 200 / 255],
    }
    for sidecar, expected in expectations.items():
        extractor = make_extractor(f"onnx:{write_network(tmp_path / 'net.onnx', sidecar)}")
        features = extractor.extract(clip)
        assert features.shape == (10 if "rate" in sidecar else 20, extractor.dimension)
        np.testing.assert_allclose(features, [expected] * len(features), atol=0.02 * max(1, max(map(abs, expected))))


@pytest.mark.parametrize(
    ("sidecar", "why"),
    [
        ("colours: RGB", "must name a size"),
        ("{size: [32, 16], colors: RGB}", "did you mean 'colours'"),
        ("{size: 32}", "size must be a width and a height"),
        ("{size: [32, 16], colours: HSV}", "colours: known: RGB, BGR, grey"),
        ("{size: [32, 16], mean: [1, 2]}", "mean must be a list of one number for each colour"),
        ("{size: [32, 16], rate: 0}", "must be numbers above 0"),
        ("{size: [32, 16], input: pixel}", "did you mean 'pixels'"),
        ("size: [32", "is not YAML"),
    ],
)
def test_a_sidecar_that_is_not_valid_is_refused(tmp_path: Path, sidecar: str, why: str) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ExtractorError, match=why):
        make_extractor(f"onnx:{write_network(tmp_path / 'net.onnx', sidecar)}")


def test_a_network_without_a_sidecar_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ExtractorError, match=r"net\.onnx is missing"):
        make_extractor(f"onnx:{tmp_path / 'net.onnx'}")
