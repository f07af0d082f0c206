"""Architectures of profiles against transformers and the papers, at small size and random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_profile import CONFIGS, small_profile
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from export.architectures import bert, clip_vision, siglip, slowfast, wav2vec2
from export.encoded import graphs_of
from export.graphs import export_graph
from export.parity import check_parity
from export.profile import load_profile
from export.quantize import integer_share, quantize
from export.samples import Sample
from export.settings import Settings

SIGLIP: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def _ready(module: nn.Module) -> Any:
    return module.eval().requires_grad_(False)


def _tokens(length: int, used: int) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(2, length, dtype=torch.int64)
    mask[:, :used] = 1
    return (torch.arange(2 * length).reshape(2, length) % 900 + 5) * mask, mask


def test_bert_is_read_at_its_first_token() -> None:
    encoder = _ready(bert.build(CONFIGS["encode_text"]))
    ids, mask = _tokens(16, 11)
    expected = encoder.bert(input_ids=ids[:, :11], attention_mask=mask[:, :11]).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder(ids, mask), expected, atol=1e-5, rtol=0)


def test_a_long_text_is_the_mean_of_its_windows() -> None:
    encoder = _ready(bert.build(CONFIGS["encode_text"]))
    ids, mask = _tokens(1536, 700)
    parts = [encoder(ids[:, start : start + 512], mask[:, start : start + 512]) for start in (0, 512)]
    torch.testing.assert_close(encoder(ids, mask), (parts[0] + parts[1]) / 2, atol=1e-5, rtol=0)


def test_clip_is_transformers_with_the_published_normalisation() -> None:
    config = CONFIGS["encode_image"]
    encoder = _ready(clip_vision.build(config))
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    x = ((pixels / 255 - mean) / deviation).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        encoder(pixels), encoder.vision(pixel_values=x).pooler_output, atol=1e-5, rtol=0
    )
    assert _ready(clip_vision.build({**config, "projection_dim": 16}))(pixels).shape == (2, 16)


def test_sound_without_padding_is_transformers_ctc() -> None:
    encoder = _ready(wav2vec2.build(CONFIGS["encode_audio"]))
    arguments = {
        name: value for name, value in CONFIGS["encode_audio"].items() if name not in ("width", "pooling")
    }
    plain = Wav2Vec2ForCTC(Wav2Vec2Config(**arguments)).eval()
    plain.wav2vec2.load_state_dict(encoder.wav2vec2.state_dict())
    plain.lm_head.load_state_dict(encoder.ctc.state_dict())
    samples = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.05
    normalised = (samples - samples.mean()) / torch.sqrt(samples.var(unbiased=False) + 1e-7)
    with torch.inference_mode():
        expected = plain(normalised).logits
        pooled, logits = encoder(samples, torch.ones(1, 16000, dtype=torch.int64))
    assert pooled.shape == (1, 512)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("used", [900, 7000, 15999])
def test_sound_does_not_hear_its_padding(used: int) -> None:
    encoder = _ready(wav2vec2.build(CONFIGS["encode_audio"]))
    samples = torch.zeros(2, 32000)
    samples[0, :used] = torch.randn(used, generator=torch.Generator().manual_seed(1)) * 0.1
    mask = torch.zeros(2, 32000, dtype=torch.int64)
    mask[0, :used] = 1
    alone, heard = encoder(samples[:1, :used], mask[:1, :used])
    together, logits = encoder(samples, mask)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[:1, : heard.shape[1]], heard, atol=1e-4, rtol=0)
    assert (logits[0, heard.shape[1] :].argmax(dim=-1) == 0).all(), "padding says blank"
    assert not together[1].any(), "no sound is zero"


def test_slowfast_has_the_published_parameters_and_shapes() -> None:
    with torch.device("meta"):
        network = slowfast.SlowFast()
        whole = nn.Sequential(network, nn.Linear(network.width, 400))
    assert network.width == 2304
    count = sum(parameter.numel() for parameter in whole.parameters())
    assert round(count / 1e6, 2) == 34.57, "SLOWFAST 8x8 R50 of the authors' model zoo, 400 classes"
    shapes: dict[str, tuple[int, ...]] = {}
    for name, stage in (("slow", network.slow_stages[3]), ("fast", network.fast_stages[3])):
        stage.register_forward_hook(
            lambda _module, _inputs, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    assert network(torch.empty(1, 3, 32, 224, 224, device="meta")).shape == (1, 2304)
    assert shapes == {"slow": (1, 2048, 8, 7, 7), "fast": (1, 256, 32, 7, 7)}, "table 1 of the paper"


def test_siglip_is_transformers_at_its_window() -> None:
    config = {**SIGLIP, "vocab_size": 1000, "max_position_embeddings": 64, "projection_size": 24}
    text = _ready(siglip.build({"tower": "text", **config}))
    ids, mask = _tokens(16, 11)
    padded = torch.nn.functional.pad(ids, (0, 48))
    expected = text.text(input_ids=padded).pooler_output
    torch.testing.assert_close(text(ids, mask), expected, atol=1e-5, rtol=0)
    assert text(*_tokens(512, 70)).shape == (2, 24)
    vision = _ready(siglip.build({"tower": "vision", **SIGLIP, "image_size": 64, "patch_size": 16}))
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    x = (pixels / 127.5 - 1).permute(0, 3, 1, 2)
    torch.testing.assert_close(vision(pixels), vision.vision(pixel_values=x).pooler_output, atol=1e-5, rtol=0)


def _samples(model: str) -> list[Sample]:
    random = np.random.default_rng(0)
    feeds: list[dict[str, Any]] = []
    for length in (8000, 16000):
        mask = np.ones((1, length), np.int64)
        mask[:, length * 3 // 4 :] = 0
        sound = {"samples": random.normal(0, 0.1, (1, length)).astype(np.float32) * mask, "mask": mask}
        sound["samples"] = sound["samples"].astype(np.float32)
        pixels = random.integers(0, 256, (1, 8, 64, 64, 3), np.uint8)
        ids, masked = _tokens(length // 500, 11)
        feeds.append(
            {
                "encode_text": {"input_ids": ids[:1].numpy(), "attention_mask": masked[:1].numpy()},
                "encode_image": {"pixels": pixels[:, 0]},
                "encode_audio": sound,
                "encode_video": {"frames": pixels, **sound},
            }[model]
        )
    return [Sample("", "", feed) for feed in feeds * 2]


@pytest.mark.parametrize("model", list(CONFIGS))
def test_every_graph_of_reference_exports_and_quantises(model: str, tmp_path: Path) -> None:
    profile = small_profile()
    graph = graphs_of(profile)[model]
    module = _ready(
        graph.build(profile, Settings(), lambda: pytest.fail("these graphs need no heads of lite"))
    )
    full, small = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export_graph(graph, module, full)
    figures = check_parity(graph, module, full, _samples(model), 1e-4)
    assert set(figures["max_abs"]) == set(graph.outputs)
    recipe = profile.models[model].int8
    feeds = [sample.feed for sample in _samples(model)]
    quantize(full, {small.name: small}, recipe, feeds if recipe.calibration else [])
    assert integer_share(small) > integer_share(full) == 0


def test_random_weights_come_from_the_seed_alone() -> None:
    def weights(seed: int, model: str = "encode_image") -> torch.Tensor:
        profile = small_profile(seed)
        module = graphs_of(profile)[model].build(profile, Settings(), lambda: pytest.fail("no heads"))
        return torch.cat([parameter.flatten() for parameter in module.parameters()])

    first = weights(3)
    torch.manual_seed(99)
    torch.testing.assert_close(weights(3), first, atol=0, rtol=0)
    assert (weights(4) - first).abs().max() > 1e-3


def test_reference_has_the_true_sizes() -> None:
    profile = load_profile("reference")
    expected = {"encode_text": 108_891_648, "encode_image": 303_179_776}
    for model, count in expected.items():
        with torch.device("meta"):
            encoder = profile.models[model].encoder
            assert encoder is not None
            module = {"bert": bert, "clip_vision": clip_vision}[encoder.architecture].build(encoder.config)
        assert sum(parameter.numel() for parameter in module.parameters()) == count
