"""Architectures of profiles against transformers and the papers, at small size and random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from small_profile import CLAP, CONFIGS, REFERENCE, TOWER, small_inputs, small_profile
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    SiglipConfig,
    SiglipModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
)

from export.architectures import bert, clap, clip_vision, siglip, slowfast, wav2vec2
from export.encoded import graphs_of
from export.errors import WeightsError
from export.graphs import export_graph
from export.parity import check_parity
from export.profile import load_profile
from export.qdq import chosen_nodes
from export.quantize import integer_share, quantize
from export.settings import Settings

SOUND: dict[str, Any] = {
    **CLAP,
    "top": 3,
    "text_width": 24,
    "siglip": {
        "tower": "text",
        **TOWER,
        "vocab_size": 100,
        "max_position_embeddings": 64,
        "projection_size": 24,
    },
    "text": {
        **TOWER,
        "vocab_size": 100,
        "max_position_embeddings": 70,
        "projection_dim": 512,
    },
}


def _ready(module: nn.Module) -> Any:
    return module.eval().requires_grad_(False)


def _tokens(length: int, used: int) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(2, length, dtype=torch.int64)
    mask[:, :used] = 1
    return (torch.arange(2 * length).reshape(2, length) % 900 + 5) * mask, mask


def test_bert_is_read_at_its_first_token() -> None:
    encoder = _ready(bert.build(REFERENCE["encode_text"]))
    ids, mask = _tokens(16, 11)
    expected = encoder.bert(input_ids=ids[:, :11], attention_mask=mask[:, :11]).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder(ids, mask), expected, atol=1e-5, rtol=0)


def test_a_long_text_is_the_mean_of_its_windows() -> None:
    encoder = _ready(bert.build(REFERENCE["encode_text"]))
    ids, mask = _tokens(1536, 700)
    parts = [encoder(ids[:, start : start + 512], mask[:, start : start + 512]) for start in (0, 512)]
    torch.testing.assert_close(encoder(ids, mask), (parts[0] + parts[1]) / 2, atol=1e-5, rtol=0)


def test_clip_is_transformers_with_the_published_normalisation() -> None:
    config = REFERENCE["encode_image"]
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
    encoder = _ready(wav2vec2.build(REFERENCE["encode_audio"]))
    arguments = {
        name: value for name, value in REFERENCE["encode_audio"].items() if name not in ("width", "pooling")
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
    encoder = _ready(wav2vec2.build(REFERENCE["encode_audio"]))
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
    config = {**TOWER, "vocab_size": 1000, "max_position_embeddings": 64, "projection_size": 24}
    text = _ready(siglip.build({"tower": "text", **config}))
    ids, mask = _tokens(16, 11)
    padded = torch.nn.functional.pad(ids, (0, 48))
    expected = text.text(input_ids=padded).pooler_output
    torch.testing.assert_close(text(ids, mask), expected, atol=1e-5, rtol=0)
    assert text(*_tokens(512, 70)).shape == (2, 24)
    vision = _ready(siglip.build({"tower": "vision", **TOWER, "image_size": 64, "patch_size": 16}))
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    x = (pixels / 127.5 - 1).permute(0, 3, 1, 2)
    torch.testing.assert_close(vision(pixels), vision.vision(pixel_values=x).pooler_output, atol=1e-5, rtol=0)


LAYERS = {
    ("reference", "encode_text"): 2,
    ("reference", "encode_image"): 2,
    ("reference", "encode_audio"): 2,
    ("reference", "encode_video"): 2,
    ("open", "encode_text"): 2,
    ("open", "encode_image"): 1,
    ("open", "encode_audio"): 4,
    ("open", "encode_video"): 5,
}
"""Of the small encoders, a clip's two together."""


@pytest.mark.parametrize(("name", "model"), [(name, model) for name in CONFIGS for model in CONFIGS[name]])
def test_every_graph_exports_and_quantises(name: str, model: str, tmp_path: Path) -> None:
    profile = small_profile(name=name)
    graph = graphs_of(profile)[model]
    module = _ready(
        graph.build(profile, Settings(), lambda: pytest.fail("these graphs need no heads of lite"))
    )
    full, small = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export_graph(graph, module, full)
    figures = check_parity(graph, module, full, small_inputs(model), 1e-4)
    assert set(figures["max_abs"]) == set(graph.outputs)
    recipe = profile.models[model].int8
    feeds = [sample.feed for sample in small_inputs(model)]
    quantize(full, {small.name: small}, recipe, feeds if recipe.calibration else [])
    assert integer_share(small) > integer_share(full) == 0
    chosen = chosen_nodes(onnx.load(str(full)).graph, profile.tensorrt[model])
    assert len(chosen) == 5 * LAYERS[name, model], "four of attention, the first of feed-forward, no second"


def test_a_change_of_what_an_encoder_is_made_of_makes_it_again() -> None:
    modules = graphs_of(load_profile("reference"))["encode_video"].modules
    used = {name.partition("/")[2] for name in modules if name.startswith("architectures/")}
    assert used == {"slowfast_clip", "slowfast", "clip_vision", "checkpoints"}


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


def test_the_spectrogram_is_that_of_claps_extractor() -> None:
    """On a sound without anything near 8 kHz, so that the way to 48 kHz makes no difference."""
    time_s = np.arange(48000 * 4) / 48000
    fine = sum(0.1 * np.sin(2 * np.pi * hertz * time_s) for hertz in (220.0, 700.0, 1900.0, 4300.0))
    extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc", padding="repeatpad")
    expected = extractor(np.asarray(fine), sampling_rate=48000, return_tensors="np")["input_features"][0, 0]
    samples = torch.from_numpy(np.asarray(fine)[::3]).float()[None]
    found = clap.LogMel()(samples, torch.ones(samples.shape, dtype=torch.int64))[0, 0].numpy()
    assert found.shape == expected.shape == (1001, 64)
    inner = slice(2, 380)  # whole frames of the first repetition
    heard = expected[inner] > -40
    assert heard.mean() > 0.2
    assert np.abs(found[inner] - expected[inner])[heard].max() < 0.5, "decibels"


def test_clap_carries_a_sound_into_the_texts_space_by_words() -> None:
    encoder = _ready(clap.build(SOUND))
    samples = torch.randn(2, 32000, generator=torch.Generator().manual_seed(0)) * 0.1
    mask = torch.ones(2, 32000, dtype=torch.int64)
    mask[1] = 0
    given = encoder(samples, mask)
    assert given.shape == (2, 512)
    assert not given[1].any(), "no sound is zero"
    encoder.texts[:] = torch.nn.functional.normalize(torch.randn(encoder.texts.shape), dim=-1)
    encoder.scale.fill_(1e4)
    named = encoder.unify(encoder.bank[[7]])
    torch.testing.assert_close(named[0, :24], encoder.texts[7], atol=1e-4, rtol=0)
    assert not named[0, 24:].any()


_TABLES = ("position_ids", "token_type_ids", "relative_position_index")


@pytest.mark.parametrize("tables", [True, False])
def test_words_are_read_by_both_towers(tables: bool, tmp_path: Path) -> None:
    """A whole small checkpoint of each: every tensor finds its place, the bank is what the towers say.

    Files of other versions of transformers have none of its constant tables, or some.
    """
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "dog": 1, "barking": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    torch.manual_seed(0)
    audio = {
        name: value for name, value in SOUND.items() if name not in ("top", "text_width", "siglip", "text")
    }
    whole = ClapModel(ClapConfig(audio_config=audio, text_config=SOUND["text"], projection_dim=512))
    texts = SiglipModel(
        SiglipConfig(
            text_config={name: value for name, value in SOUND["siglip"].items() if name != "tower"},
            vision_config={**TOWER, "image_size": 32, "patch_size": 16},
        )
    )
    written = {
        name: each for name, each in whole.state_dict().items() if tables or not name.endswith(_TABLES)
    }
    assert len(written) < len(whole.state_dict()) or tables
    torch.save(written, tmp_path / "clap.bin")
    save_file(texts.state_dict(), tmp_path / "siglip.safetensors")
    files = {
        "weights": tmp_path / "clap.bin",
        "tokenizer": tmp_path / "tokenizer.json",
        "text_weights": tmp_path / "siglip.safetensors",
        "text_tokenizer": tmp_path / "tokenizer.json",
    }
    encoder = clap.build(SOUND)
    encoder.load_state_dict(clap.state(files, SOUND), strict=True)
    assert clap.words()[0] == "dog barking"
    plain = siglip.build(SOUND["siglip"])
    plain.load_state_dict(siglip.state({"weights": files["text_weights"]}, SOUND["siglip"]), strict=True)
    mask = torch.ones(1, 2, dtype=torch.int64)
    expected = torch.nn.functional.normalize(_ready(plain)(torch.tensor([[1, 2]]), mask), dim=-1)
    torch.testing.assert_close(encoder.texts[:1], expected, atol=1e-5, rtol=0)
    assert float(encoder.scale) == pytest.approx(whole.logit_scale_a.detach().exp().item())
    there = {name: each for name, each in encoder.clap.state_dict().items() if name.endswith(_TABLES)}
    assert there
    for name, table in there.items():
        torch.testing.assert_close(table, whole.state_dict()[name], atol=0, rtol=0)
    del written["text_projection.linear1.weight"]
    torch.save(written, tmp_path / "clap.bin")
    with pytest.raises(WeightsError, match=r"text_projection\.linear1\.weight"):
        clap.state(files, SOUND)
