"""The means of the learned block: modality dropout, hard negatives, temperature, uncertainty, inner
layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from export.adapters import IMAGE_DIM, SEMANTIC_DIM, Kernel
from tests.unit.training.test_alignment import mean_ndcg, pairs, solved
from training.alignment import Options, Pairs, concatenate, embed_images, embed_texts
from training.classwords import with_hypernyms
from training.contrastive import Schedule, fit_learned
from training.hard_negatives import cluster, draw
from training.objective import TEMPERATURES, Objective, drop_modalities
from training.teachers import translation

EVERYTHING = Schedule(
    steps=6,
    check_every=6,
    batch=32,
    rate=1e-3,
    hidden=16,
    learn_temperature=True,
    modality_dropout=0.3,
    clusters=4,
    uncertainty=True,
    confidence=True,
)


def learned(schedule: Schedule) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of pictures and texts after training with and beside other pairs."""
    text, image, data = solved(Options(mix=0.3, learned=0.5, visual=0.0))
    views = data.features[:, None], data.logits[:, None]
    fit_learned(text, image, data, pairs(30, seed=5), views, lambda: mean_ndcg(text, image, data), schedule)
    found = embed_images(image, data.features, data.logits), embed_texts(text, data.text)
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])


def test_with_every_means_on_a_seed_still_decides_everything() -> None:
    first, second = learned(EVERYTHING), learned(EVERYTHING)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_an_inner_layer_starts_as_no_residual() -> None:
    text, image, data = solved(Options(mix=0.3, learned=0.5, visual=0.0))
    before = embed_images(image, data.features, data.logits), embed_texts(text, data.text)
    none = data.take(np.zeros(0, np.intp))
    views = data.features[:, None], data.logits[:, None]
    fit_learned(text, image, data, none, views, None, Schedule(steps=0, hidden=16))
    assert image.learned.inner is not None
    assert text.hidden == 16
    assert np.allclose(before[0], embed_images(image, data.features, data.logits), atol=1e-6)
    assert np.allclose(before[1], embed_texts(text, data.text), atol=1e-6)


def test_dropout_leaves_every_item_a_picture_and_a_text() -> None:
    torch.manual_seed(0)
    present = torch.ones(20_000, 4, dtype=torch.bool)
    present[:10_000, 3] = False
    kept = drop_modalities(present, 0.3)
    assert kept[:, :2].any(dim=1).all()
    assert kept[:, 2:].any(dim=1).all()
    assert not (kept & ~present).any()
    # dropped by itself with 0.3; of the 0.09 that lose both, either is kept as often
    assert (~kept[:, 0]).float().mean() == pytest.approx(0.3 - 0.09 / 2, abs=0.01)
    assert kept[:10_000, 2].all()
    assert drop_modalities(present, 0.0).equal(present)
    assert drop_modalities(present, 1.0).sum() == 2 * len(present)


def test_clusters_are_of_what_lies_together() -> None:
    rng = np.random.default_rng(0)
    far = np.repeat([0, 1], 50)
    found = cluster((far[:, None] * 10 + rng.normal(size=(100, 16))).astype(np.float32), 2, seed=3)
    assert set(found[:50]) | set(found[50:]) == {0, 1}
    assert len(set(found[:50])) == len(set(found[50:])) == 1


def test_batches_are_whole_clusters_until_they_are_full() -> None:
    rng = np.random.default_rng(0)
    found = rng.integers(0, 8, 400)
    rows = draw(found, 200, (40, 20), rng)
    assert (rows[:40] < 200).all()
    assert (rows[40:] >= 200).all()
    assert len(set(rows.tolist())) == 60
    own = found[:200]
    used, counts = np.unique(found[rows[:40]], return_counts=True)
    whole = [int(count) == int((own == name).sum()) for name, count in zip(used, counts, strict=True)]
    assert whole.count(False) <= 1
    evenly = len(np.unique(found[rng.choice(200, 40, replace=False)]))
    assert len(used) < evenly


def test_clusters_are_the_same_for_a_seed() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    assert np.array_equal(cluster(rows, 6, seed=1), cluster(rows, 6, seed=1))


@pytest.mark.parametrize(("wanted", "expected"), [(-50.0, TEMPERATURES[1]), (50.0, TEMPERATURES[0])])
def test_a_learned_temperature_stays_within_its_bounds(wanted: float, expected: float) -> None:
    objective = Objective(0.07, learn_temperature=True, uncertainty=False)
    assert float(objective.temperature().detach()) == pytest.approx(0.07)
    objective.log_scale.data.fill_(wanted)
    objective.clamp()
    assert float(objective.temperature().detach()) == pytest.approx(expected)
    objective.temperature().backward()
    assert objective.log_scale.grad is not None
    assert objective.log_scale.grad != 0


def test_what_is_uncertain_learns_to_count_for_less() -> None:
    torch.manual_seed(0)
    objective = Objective(0.07, learn_temperature=False, uncertainty=True)
    a = normalize(torch.randn(40, 16), dim=1)
    source = (torch.arange(40) >= 20).long()
    b = torch.where(source[:, None] == 0, a, normalize(torch.randn(40, 16), dim=1))
    optimiser = torch.optim.Adam([objective.log_variance], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        objective(a, b, torch.arange(40), torch.ones(40), source).backward()
        optimiser.step()
    sure, unsure = objective.log_variance.detach().mean(dim=0)
    assert unsure > sure + 1
    plain = Objective(0.07, learn_temperature=False, uncertainty=False)
    assert not plain.log_variance.requires_grad


def test_pairs_of_one_meaning_are_no_negatives() -> None:
    objective = Objective(0.07, learn_temperature=False, uncertainty=False)
    a = torch.ones(2, 4) / 2
    source = torch.zeros(2, dtype=torch.long)
    same = objective(a, a, torch.tensor([0, 0]), torch.ones(2), source)
    other = objective(a, a, torch.tensor([0, 1]), torch.ones(2), source)
    assert float(same) == pytest.approx(0.0, abs=1e-6)
    assert float(other) == pytest.approx(np.log(2))


def test_prototypes_with_hypernyms_are_unit_and_nearer_to_them() -> None:
    rng = np.random.default_rng(0)
    named, above = (
        normalize(torch.from_numpy(rng.normal(size=(9, 384)).astype(np.float32))).numpy() for _ in range(2)
    )
    mixed = with_hypernyms(named, above, 0.3)
    assert np.allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-6)
    assert ((mixed * above).sum(axis=1) > (named * above).sum(axis=1)).all()
    assert np.allclose(with_hypernyms(named, above, 0.0), named, atol=1e-6)


def test_a_kernel_is_one_at_its_points_and_falls_with_distance() -> None:
    torch.manual_seed(0)
    kernel = Kernel(IMAGE_DIM + SEMANTIC_DIM, SEMANTIC_DIM, 3)
    kernel.axes.copy_(torch.linalg.qr(torch.randn_like(kernel.axes))[0])
    points = torch.randn(3, len(kernel.mean))
    kernel.points.copy_(points @ kernel.axes)
    kernel.width.fill_(0.01)
    found = kernel.near(points)
    distance = torch.cdist(kernel.points, kernel.points)
    assert torch.allclose(found, torch.exp(-0.01 * distance**2), atol=1e-4)
    assert torch.allclose(found.diagonal(), torch.ones(3), atol=1e-4)


def test_the_kernel_map_brings_training_pictures_to_their_texts() -> None:
    text, image, data = solved(Options(mix=1.0, kernel=3.0, noise=1e-3, visual=0.0))
    assert image.points == len(data.meaning)
    assert mean_ndcg(text, image, data) > 0.99


def test_parts_of_texts_follow_their_pairs() -> None:
    first, second = pairs(4), pairs(3, seed=1)
    parts = np.stack([second.text, -second.text], axis=1)
    split = Pairs(second.features, second.logits, second.text, second.weight, second.meaning, parts)
    both = concatenate([first, split]).take(np.array([0, 5], np.intp))
    assert both.parts is not None
    assert np.array_equal(both.parts[0], np.stack([first.text[0], np.zeros(384, np.float32)]))
    assert np.array_equal(both.parts[1], parts[1])


def test_a_translation_is_its_own_line() -> None:
    text = "A frog.\nes.utf8=Una rana.\nfr.utf8= Une grenouille.\n"
    assert translation(text, "fr") == "Une grenouille."
    assert translation(text, "de") == ""
