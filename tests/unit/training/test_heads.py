"""Shapes, norms and storage of the heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export.adapters import EMBEDDING_DIM, AudioHead, Heads, ImageHead, TextHead, VideoHead, load_heads
from export.errors import WeightsError
from training.checkpoints import save_heads


def made(seed: int = 0) -> Heads:
    torch.manual_seed(seed)
    image = ImageHead()
    image.prototypes.normal_()
    heads = Heads(TextHead(), image, AudioHead(hidden=8), VideoHead(image))
    for head in (heads.text, heads.image, heads.audio, heads.video):
        head.eval().requires_grad_(False)
    return heads


def unit(x: torch.Tensor) -> bool:
    return torch.allclose(x.norm(dim=-1), torch.ones(len(x)), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_embedding_is_1024_wide_and_unit(batch: int) -> None:
    heads = made()
    text = heads.text(torch.randn(batch, 384))
    image = heads.image(torch.randn(batch, 1280), torch.randn(batch, 1000))
    sound, native = heads.audio(torch.randn(batch, 576))
    clip, motion = heads.video(
        torch.randn(batch, 8, 1280), torch.randn(batch, 8, 1000), torch.randn(batch, 288), torch.ones(batch)
    )
    for embedding in (text, image, sound, clip):
        assert embedding.shape == (batch, EMBEDDING_DIM)
        assert unit(embedding)
    assert native.shape == (batch, 512)
    assert motion.shape == (batch, 2048)
    assert unit(native)
    assert unit(motion)


def test_a_text_means_the_same_whatever_the_length_of_its_vector() -> None:
    heads, pooled = made(), torch.randn(2, 384)
    assert torch.allclose(heads.text(pooled), heads.text(7 * pooled), atol=1e-6)


def test_only_pictures_use_the_visual_block() -> None:
    heads = made()
    assert not heads.text(torch.randn(2, 384))[:, 768:].any()
    assert not heads.audio(torch.randn(2, 576))[0][:, 768:].any()
    assert heads.image(torch.randn(2, 1280), torch.randn(2, 1000))[:, 768:].any()


def test_the_best_classes_name_the_picture() -> None:
    head = made().image
    logits = torch.zeros(1, 1000)
    logits[0, 7] = 200.0
    assert torch.allclose(head.words(logits)[0], torch.nn.functional.normalize(head.prototypes[7], dim=0))
    # classes below the top ones have no say
    other = logits.clone()
    other[0, 900:] = -50.0
    logits[0, 900:] = -60.0
    assert torch.equal(head.words(logits), head.words(other))


def test_sound_counts_only_where_there_is_sound() -> None:
    heads = made()
    frames = torch.randn(1, 8, 1280), torch.randn(1, 8, 1000)
    quiet = [heads.video(*frames, torch.randn(1, 288), torch.zeros(1))[1] for _ in range(2)]
    loud = [heads.video(*frames, torch.randn(1, 288), torch.ones(1))[1] for _ in range(2)]
    assert torch.equal(*quiet)
    assert not quiet[0][:, 1760:].any()
    assert not torch.allclose(*loud)


def test_a_still_clip_lies_where_its_picture_lies() -> None:
    heads = made()
    features, logits = torch.randn(1, 1280), torch.randn(1, 1000)
    frames = features.expand(8, -1)[None], logits.expand(8, -1)[None]
    clip, _ = heads.video(*frames, torch.zeros(1, 288), torch.zeros(1))
    assert torch.allclose(clip, heads.image(features, logits), atol=1e-5)


def test_stored_heads_come_back_as_they_were_but_for_fp16(tmp_path: Path) -> None:
    heads = made()
    save_heads(heads, tmp_path / "lite")
    again = load_heads("lite", tmp_path)
    pooled = torch.randn(4, 384)
    assert torch.allclose(heads.text(pooled), again.text(pooled), atol=2e-3)
    features = torch.randn(4, 1280), torch.randn(4, 1000)
    assert (heads.image(*features) * again.image(*features)).sum(dim=1).min() > 0.9999
    assert again.video.image is again.image
    assert not again.image.training


def test_missing_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="make train"):
        load_heads("lite", tmp_path)
    save_heads(made(), tmp_path / "lite")
    (tmp_path / "lite" / "audio.safetensors").replace(tmp_path / "lite" / "text.safetensors")
    save_heads(made(), tmp_path / "other")
    (tmp_path / "other" / "text.safetensors").replace(tmp_path / "lite" / "audio.safetensors")
    with pytest.raises(WeightsError, match="does not fit"):
        load_heads("lite", tmp_path)
    (tmp_path / "lite" / "text.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match=r"text\.safetensors"):
        load_heads("lite", tmp_path)


def test_a_kernel_map_and_inner_layers_are_stored_and_read_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = ImageHead(points=7, hidden=16)
    image.prototypes.normal_()
    for buffer in (image.semantic_map.axes, image.semantic_map.points):
        buffer.normal_(std=0.05)
    heads = Heads(TextHead(hidden=16), image, AudioHead(hidden=8), VideoHead(image))
    save_heads(heads, tmp_path / "lite")
    again = load_heads("lite", tmp_path)
    features, pooled = (torch.randn(4, 1280), torch.randn(4, 1000)), torch.randn(4, 384)
    assert (again.image.points, again.image.hidden, again.text.hidden) == (7, 16, 16)
    with torch.no_grad():
        assert (heads.image.eval()(*features) * again.image(*features)).sum(dim=1).min() > 0.999
        assert (heads.text.eval()(pooled) * again.text(pooled)).sum(dim=1).min() > 0.999
