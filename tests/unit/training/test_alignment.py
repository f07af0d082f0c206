"""The closed form, the learned block and the sound head on tiny made-up data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from export.adapters import AudioHead, ImageHead, TextHead
from training.alignment import Options, Pairs, embed_images, embed_texts, fit_heads, weigh_blocks
from training.audio_head import AudioSchedule, fit_native, fit_unified
from training.contrastive import Schedule, fit_learned
from training.figures import ndcg
from training.store import Arrays, FeatureStore

Made = tuple[TextHead, ImageHead, Pairs]


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def pairs(count: int = 40, seed: int = 0) -> Pairs:
    """Texts are a linear function of the features, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 1280)).astype(np.float32)
    linear = np.random.default_rng(99).normal(size=(1280, 384)) / 36
    return Pairs(
        features,
        rng.normal(size=(count, 1000)).astype(np.float32),
        unit(features @ linear),
        np.ones(count, np.float32),
        tuple(f"thing {number}" for number in range(count)),
    )


def solved(options: Options) -> Made:
    data = pairs()
    prototypes = unit(np.random.default_rng(1).normal(size=(1000, 384)))
    text, image = fit_heads(data, prototypes, np.zeros(384, np.float32), data.logits, options)
    return text, image, data


def mean_ndcg(text: TextHead, image: ImageHead, data: Pairs) -> float:
    found = embed_images(image, data.features, data.logits)
    return float(ndcg(embed_texts(text, data.text), data.meaning, found, data.meaning).mean())


def test_the_ridge_map_brings_training_pictures_to_their_texts() -> None:
    text, image, data = solved(Options(mix=1.0, ridge=1.0, visual=0.0))
    assert mean_ndcg(text, image, data) > 0.99
    text, image, data = solved(Options(mix=0.0, visual=0.0))
    assert mean_ndcg(text, image, data) < 0.5


def test_weights_are_the_blocks_shares_of_the_cosine() -> None:
    text, image, data = solved(Options(visual=0.7))
    torch.manual_seed(0)
    for head in (text, image):
        torch.nn.init.normal_(head.learned.outer.weight, std=0.05)
    for learned in (0.0, 0.3, 1.0):
        weigh_blocks(text, image, Options(learned=learned, visual=0.7))
        texts = embed_texts(text, data.text)
        pictures = embed_images(image, data.features, data.logits)
        parts = [
            np.sum(unit_rows(texts[:, block]) * unit_rows(pictures[:, block]), axis=1)
            for block in (slice(0, 384), slice(384, 768))
        ]
        # the visual block only makes every cosine with a picture shorter by the same factor
        expected = ((1 - learned) * parts[0] + learned * parts[1]) / np.sqrt(1 + 0.7**2)
        assert np.sum(texts * pictures, axis=1) == pytest.approx(expected, abs=1e-5)


def test_what_the_classifier_always_says_is_taken_off() -> None:
    data = pairs()
    data.logits[:, 7] += 50.0
    prototypes = unit(np.random.default_rng(1).normal(size=(1000, 384)))
    mean = np.zeros(384, np.float32)
    _, kept = fit_heads(data, prototypes, mean, data.logits, Options(prior=0.0))
    _, taken = fit_heads(data, prototypes, mean, data.logits, Options(prior=1.0))
    logits = torch.from_numpy(data.logits)
    assert (kept.words(logits) @ torch.from_numpy(prototypes[7])).min() > 0.99
    assert (taken.words(logits) @ torch.from_numpy(prototypes[7])).max() < 0.9
    usual = data.logits.mean(axis=0)
    assert torch.allclose(taken.prior, torch.from_numpy(usual - usual.mean()), atol=1e-4)


def unit_rows(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def learn(seed: int, steps: int = 12) -> tuple[torch.Tensor, float, float]:
    """The learned weights, and the figure of the heads before and after."""
    text, image, data = solved(Options(mix=0.0, learned=1.0, visual=0.0))
    views = data.features[:, None], data.logits[:, None]
    none = data.take(np.zeros(0, np.intp))
    schedule = Schedule(steps=steps, check_every=steps, batch=32, catalogue_share=1.0, rate=1e-3, seed=seed)
    curve = fit_learned(text, image, data, none, views, lambda: mean_ndcg(text, image, data), schedule)
    assert [step for step, _, _ in curve] == [0, steps]
    return image.learned.outer.weight.detach().clone(), curve[0][2], curve[-1][2]


def test_the_same_seed_gives_the_same_heads_and_another_seed_others() -> None:
    first, second, other = learn(0), learn(0), learn(1)
    assert torch.equal(first[0], second[0])
    assert first[1:] == second[1:]
    assert not torch.equal(first[0], other[0])


def test_info_nce_brings_pairs_together() -> None:
    _, before, after = learn(0, steps=60)
    assert after > before + 0.2


def test_untrained_residuals_leave_the_semantic_block_as_it_is() -> None:
    text, image, data = solved(Options(visual=0.0, learned=0.5))
    pictures, texts = embed_images(image, data.features, data.logits), embed_texts(text, data.text)
    assert np.allclose(pictures[:, :384], pictures[:, 384:768], atol=1e-6)
    assert np.allclose(texts[:, :384], texts[:, 384:768], atol=1e-6)


def test_sound_learns_to_lie_near_its_text() -> None:
    rng = np.random.default_rng(0)
    pooled = rng.normal(size=(24, 576)).astype(np.float32)
    targets = np.pad(unit(rng.normal(size=(24, 768))), ((0, 0), (0, 256)))
    meanings = tuple(str(number) for number in range(24))
    torch.manual_seed(0)
    head = AudioHead(hidden=64)

    def figure() -> float:
        with torch.no_grad():
            queries = head(torch.from_numpy(pooled))[0].numpy()
        return float(ndcg(queries, meanings, targets, meanings).mean())

    before = figure()
    curve = fit_unified(
        head, pooled, targets, meanings, figure, AudioSchedule(steps=80, check_every=40, batch=24)
    )
    assert figure() > max(before, 0.9)
    assert [step for step, _, _ in curve] == [0, 40, 80]


def test_native_sound_vectors_are_whitened() -> None:
    rng = np.random.default_rng(0)
    pooled = (rng.normal(size=(2_000, 576)) * np.linspace(0.1, 5, 576) + 3).astype(np.float32)
    head = AudioHead(hidden=8)
    fit_native(head, pooled)
    with torch.no_grad():
        projected = head.native(torch.from_numpy(pooled))
    assert projected.mean(dim=0).abs().max() < 0.05
    deviation = projected.std(dim=0)
    assert deviation.max() / deviation.min() < 2.5


def test_an_interrupted_computation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    done: list[int] = []

    def compute(stop_at: int) -> Callable[[Sequence[int]], Arrays]:
        def rows(asked: Sequence[int]) -> Arrays:
            if stop_at in asked:
                raise KeyboardInterrupt
            done.extend(asked)
            return {"x": np.array(asked)}

        return rows

    store = FeatureStore(tmp_path, lambda what, count, total: None)
    keys = [str(number) for number in range(10)]
    with pytest.raises(KeyboardInterrupt):
        store.get("x", "1", keys, compute(5), chunk=4)
    arrays = store.get("x", "1", keys, compute(-1), chunk=4)
    assert arrays["x"].tolist() == list(range(10))
    assert sorted(done) == list(range(10))
    store.get("x", "2", keys, compute(-1), chunk=4)
    assert len(done) == 20
