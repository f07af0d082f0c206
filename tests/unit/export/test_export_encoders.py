"""The encoders against their references, at random weights: padding, windows, masks and ONNX parity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, MoonshineConfig
from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

from export.efficientnet import EfficientNetLite2
from export.encoders import AudioEncoder, ImageEncoder, TextEncoder
from export.errors import ParityError, QuantizeError
from export.graphs import GRAPHS, export_graph
from export.parity import check_parity
from export.profile import Int8
from export.quantize import integer_share, quantize
from export.samples import Sample


@pytest.fixture(scope="module")
def bert() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    config._attn_implementation = "eager"
    return BertModel(config, add_pooling_layer=False).eval()


@pytest.fixture(scope="module")
def moonshine() -> MoonshineEncoder:
    torch.manual_seed(0)
    config = MoonshineConfig(encoder_num_hidden_layers=2)
    config._attn_implementation = "eager"
    return MoonshineEncoder(config).eval()


class TextGraph(nn.Module):
    """A text encoder with a plain head, as the served graph is put together."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.text, self.head = TextEncoder(bert), nn.Linear(32, 16)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.text(input_ids, attention_mask))
        return out


def _tokens(rows: int, length: int, used: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.arange(rows * length).reshape(rows, length) % 90 + 1
    mask = torch.zeros(rows, length, dtype=torch.int64)
    mask[:, :used] = 1
    return ids * mask, mask


def test_text_is_the_masked_mean_of_bert(bert: BertModel) -> None:
    ids, mask = _tokens(2, 16, 11)
    with torch.inference_mode():
        hidden = bert(input_ids=ids[:, :11], attention_mask=mask[:, :11]).last_hidden_state
        torch.testing.assert_close(TextEncoder(bert)(ids, mask), hidden.mean(dim=1), atol=1e-5, rtol=0)


def test_long_text_is_the_mean_over_windows(bert: BertModel) -> None:
    encoder = TextEncoder(bert)
    ids, mask = _tokens(2, 1024, 700)
    with torch.inference_mode():
        first = encoder(ids[:, :512], mask[:, :512])
        second = encoder(ids[:, 512:], mask[:, 512:])
        expected = (first * 512 + second * 188) / 700
        torch.testing.assert_close(encoder(ids, mask), expected, atol=1e-5, rtol=0)


def test_sound_without_padding_is_transformers_encoder(moonshine: MoonshineEncoder) -> None:
    samples = torch.sin(torch.arange(16000) / 7)[None] * 0.2
    with torch.inference_mode():
        frames = moonshine(samples).last_hidden_state[0]
        expected = torch.cat([frames.mean(dim=0), frames.std(dim=0, unbiased=False)])
        found = AudioEncoder(moonshine)(samples, torch.ones(1, 16000, dtype=torch.int64))[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("used", [900, 7000, 15999])
def test_sound_does_not_hear_its_padding(moonshine: MoonshineEncoder, used: int) -> None:
    samples = torch.zeros(2, 32000)
    samples[0, :used] = torch.randn(used, generator=torch.Generator().manual_seed(1)) * 0.1
    samples[1] = torch.randn(32000, generator=torch.Generator().manual_seed(2)) * 0.3
    mask = torch.zeros(2, 32000, dtype=torch.int64)
    mask[0, :used] = 1
    mask[1] = 1
    encoder = AudioEncoder(moonshine)
    with torch.inference_mode():
        alone = encoder(samples[:1, :used], mask[:1, :used])
        torch.testing.assert_close(encoder(samples, mask)[:1], alone, atol=1e-5, rtol=0)


def test_no_sound_is_zero_and_a_click_is_finite(moonshine: MoonshineEncoder) -> None:
    mask = torch.zeros(2, 16000, dtype=torch.int64)
    mask[1, :10] = 1
    with torch.inference_mode():
        pooled = AudioEncoder(moonshine)(torch.zeros(2, 16000), mask)
    assert pooled.shape == (2, 576)
    assert not pooled[0].any()
    assert torch.isfinite(pooled).all()


def test_image_shapes_and_rows_are_independent() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(EfficientNetLite2()).eval()
    pixels = torch.randint(0, 256, (2, 260, 260, 3), dtype=torch.uint8)
    with torch.inference_mode():
        features, logits = encoder(pixels)
        alone, _ = encoder(pixels[1:])
    assert features.shape == (2, 1280)
    assert logits.shape == (2, 1000)
    torch.testing.assert_close(features[1:], alone, atol=1e-5, rtol=1e-4)


def _samples() -> list[Sample]:
    feeds = []
    for length, used in ((16, 9), (16, 16), (64, 30), (1024, 600)):
        ids, mask = _tokens(1, length, used)
        feeds.append({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    return [Sample("", "", feed) for feed in feeds]


def test_onnx_computes_what_torch_computes(bert: BertModel, tmp_path: Path) -> None:
    module, path = TextGraph(bert).eval(), tmp_path / "model.onnx"
    export_graph(GRAPHS["encode_text"], module, path)
    figures = check_parity(GRAPHS["encode_text"], module, path, _samples(), 1e-4)
    assert figures["shapes"] == 4  # the two texts of 16 tokens also ran as one batch
    assert figures["max_abs"]["embedding"] <= 1e-4
    graph = onnx.load(str(path))
    assert graph.opset_import[0].version >= 17
    assert sum(node.op_type == "LayerNormalization" for node in graph.graph.node) == 5


def test_parity_fails_when_weights_differ(bert: BertModel, tmp_path: Path) -> None:
    module, path = TextGraph(bert).eval(), tmp_path / "model.onnx"
    export_graph(GRAPHS["encode_text"], module, path)
    with torch.no_grad():
        module.head.bias += 0.001
    with pytest.raises(ParityError, match="embedding differs by"):
        check_parity(GRAPHS["encode_text"], module, path, _samples(), 1e-4)


def test_int8_is_integers_and_close(bert: BertModel, tmp_path: Path) -> None:
    module = TextGraph(bert).eval()
    path, small = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    export_graph(GRAPHS["encode_text"], module, path)
    figures = quantize(path, {small.name: small}, Int8(dynamic="^/text/"), [])
    assert figures["dynamic_nodes"] == 12
    assert integer_share(path) == 0
    assert integer_share(small) > 0.9
    operators = {node.op_type for node in onnx.load(str(small)).graph.node}
    assert "MatMulInteger" in operators
    feed = _samples()[1].feed
    one, other = (onnxruntime.InferenceSession(str(p)).run(None, feed)[0][0] for p in (path, small))
    assert float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) > 0.99
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


def test_an_int8_vector_does_not_depend_on_what_else_is_in_the_batch(bert: BertModel, tmp_path: Path) -> None:
    path, small = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    export_graph(GRAPHS["encode_text"], TextGraph(bert).eval(), path)
    quantize(path, {small.name: small}, Int8(dynamic="^/text/"), [])
    session = onnxruntime.InferenceSession(str(small))
    rng = np.random.default_rng(3)
    ids = rng.integers(0, bert.config.vocab_size, (8, 16))
    mask = np.ones((8, 16), np.int64)
    mask[1::2, 9:] = 0
    (together,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    for place in range(8):
        rows = slice(place, place + 1)
        (alone,) = session.run(None, {"input_ids": ids[rows], "attention_mask": mask[rows]})
        np.testing.assert_allclose(alone[0], together[place], atol=1e-5)


def test_a_recipe_that_matches_nothing_fails(bert: BertModel, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_graph(GRAPHS["encode_text"], TextGraph(bert).eval(), path)
    with pytest.raises(QuantizeError, match="no MatMul node matches"):
        quantize(path, {"int8.onnx": tmp_path / "int8.onnx"}, Int8(dynamic="^/nothing/"), [])
