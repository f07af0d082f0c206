"""Fitting a re-ranker on lists of which the answer is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.profile import load_profile
from export.reranker import Reranker, Shape, load_reranker
from export.reranker_steps import default_for, is_trained
from export.settings import Settings
from export.trained_steps import HEADS
from training import rerank_run
from training.rerank_data import Example, Gallery
from training.rerank_run import early_fusion, table
from training.reranker import Schedule, batched, fit, ndcg_by_query, scores

SHAPE = Shape(layers=1, width=16, heads=2, hidden=32)
SCHEDULE = Schedule(epochs=6, batch=8, listed=8, rate=5e-3, dropout=0.0, drop_rows=0.0)


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def world(queries: int, seed: int) -> tuple[list[Example], np.ndarray]:
    """Ten candidates each, of which one has the query's own vector as its picture; fusion guesses."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((12 * queries, 1024)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    examples = []
    for number in range(queries):
        rows = np.full((10, 4), -1, np.int64)
        rows[:, 0] = number * 12 + np.arange(10)
        answer = int(random.integers(10))
        rows[:, 1] = number * 12 + 10
        rows[answer, 1] = number * 12 + 11
        relevant = np.arange(10) == answer
        names = tuple(f"{number}/{place}" for place in range(10))
        examples.append(
            Example(
                name=str(number),
                kind="image",
                asks="photograph",
                split="train",
                query=vectors[number * 12 + 11][None],
                query_kind=np.array([2]),
                query_weight=np.ones(1, np.float32),
                rows=rows,
                evidence=np.full((10, 1, 4), 0.3, np.float32),
                fused=np.sort(random.uniform(0.2, 0.4, 10))[::-1].astype(np.float32),
                relevant=relevant,
                wanted=(names[answer],),
                found=names,
                behind=(),
                fuse_ms=0.1,
            )
        )
    return examples, vectors


def test_it_learns_what_fusion_does_not_see() -> None:
    examples, vectors = world(120, 0)
    train, held = examples[:90], examples[90:]
    model, curve = fit(SHAPE, train, held, vectors, SCHEDULE, quiet, "test")
    before, after = ndcg_by_query(held).mean(), ndcg_by_query(held, scores(model, held, vectors)).mean()
    assert curve[0]["ndcg@10"] == pytest.approx(before)
    assert max(point["ndcg@10"] for point in curve) == pytest.approx(after)
    assert after > before + 0.2


def test_a_seed_gives_the_same_model() -> None:
    examples, vectors = world(24, 1)
    schedule = replace(SCHEDULE, epochs=2, dropout=0.3, drop_rows=0.2)
    one, other, third = (
        fit(SHAPE, examples[:16], examples[16:], vectors, replace(schedule, seed=seed), quiet, "test")[1]
        for seed in (5, 5, 6)
    )
    assert [point["loss"] for point in one[1:]] == [point["loss"] for point in other[1:]]
    assert [point["loss"] for point in one[1:]] != [point["loss"] for point in third[1:]]


def test_what_does_not_help_is_not_kept() -> None:
    """Answers by chance: no epoch is better than fusion for long, and the best one is what comes back."""
    examples, vectors = world(40, 2)
    perfect = [replace(e, fused=np.where(e.relevant, 0.9, 0.1).astype(np.float32)) for e in examples]
    first = [_first(example) for example in perfect]
    model, curve = fit(SHAPE, examples[:20], first[20:], vectors, SCHEDULE, quiet, "test")
    assert curve[0]["ndcg@10"] == 1.0
    assert ndcg_by_query(first[20:], scores(model, first[20:], vectors)).mean() == 1.0


def _first(example: Example) -> Example:
    order = np.argsort(-example.fused, kind="stable")
    return replace(
        example,
        rows=example.rows[order],
        evidence=example.evidence[order],
        fused=example.fused[order],
        relevant=example.relevant[order],
        found=tuple(example.found[place] for place in order),
    )


def test_lists_of_different_length_do_not_disturb_each_other() -> None:
    examples, vectors = world(4, 3)
    short = replace(
        examples[0],
        rows=examples[0].rows[:3],
        evidence=examples[0].evidence[:3],
        fused=examples[0].fused[:3],
        relevant=examples[0].relevant[:3],
        found=examples[0].found[:3],
    )
    torch.manual_seed(0)
    model = Reranker(SHAPE).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    alone = scores(model, [short], vectors)[0]
    together = scores(model, [short, *examples[1:]], vectors)[0]
    assert alone.shape == (3,)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    batch = batched([short, examples[1]], vectors, [np.arange(3), np.arange(10)])
    assert batch.there.sum(dim=1).tolist() == [3, 10]


def test_early_fusion_is_one_cosine_of_concatenations() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((5, 1024)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = {
        ("a", "text"): [0],
        ("a", "image"): [1],
        ("b", "text"): [2],
        ("c", "text"): [3],
        ("c", "audio"): [4],
    }
    examples, _ = world(1, 0)
    query = (vectors[2] + vectors[1]) / 2
    gallery = Gallery(vectors, places, dict.fromkeys("abc"))  # type: ignore[arg-type]
    asked = [replace(examples[0], query=query[None], wanted=(item,)) for item in "abc"]
    slots = {"a": [0, 1], "b": [2], "c": [3, 4]}
    cosine = {item: sum(vectors[r] @ query for r in rows) / len(rows) ** 0.5 for item, rows in slots.items()}
    order = sorted("abc", key=lambda item: -cosine[item])
    expected = [1 / np.log2(2 + order.index(item)) for item in "abc"]
    np.testing.assert_allclose(early_fusion(asked, gallery), expected)


def test_the_table_has_a_column_for_each_way() -> None:
    figure = {"queries": 3, "ndcg@10": {"early": 0.1, "late": 0.2}, "gain": 0.1, "gain_ci95": [0.05, 0.15]}
    head, rule, row = table({"paraphrase": figure}).splitlines()
    assert head.count("|") == row.count("|") == rule.count("|")
    assert "| 0.100 | 0.200 | +0.100 | +0.050 to +0.150 |" in row


def test_a_run_writes_a_checkpoint_that_export_and_serving_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lite"
    folder.mkdir()
    for name in (*(f"{head}.safetensors" for head in HEADS), "calibration.json"):
        (folder / name).write_text(name)
    examples, vectors = world(80, 4)
    marked = [replace(e, split="train" if n < 50 else "validation") for n, e in enumerate(examples)]
    monkeypatch.setitem(rerank_run.SHAPES, "lite", SHAPE)
    monkeypatch.setattr(rerank_run, "Schedule", lambda seed: replace(SCHEDULE, seed=seed))
    monkeypatch.setattr(rerank_run, "load_stamps", lambda manifest: [])
    monkeypatch.setattr(rerank_run, "_queries", lambda *_: [])
    gallery = Gallery(vectors, {("a", "text"): [0]}, {"a": None})  # type: ignore[dict-item]
    monkeypatch.setattr(rerank_run, "embed_gallery", lambda *_: gallery)
    monkeypatch.setattr(rerank_run, "collect", lambda *_: marked)
    settings = Settings(home=tmp_path, checkpoints=tmp_path)
    metrics = rerank_run.train_reranker("lite", settings, "nowhere", "nowhere", 1, quiet)

    text = (folder / "rerank.json").read_text()
    assert "NaN" not in text
    assert (
        json.loads(text)["default_for"]
        == metrics["default_for"]
        == default_for(settings, load_profile("lite"))
        == ["image"]
    )
    assert is_trained(settings, "lite")
    figures = metrics["validation"]["photograph"]
    assert figures["queries"] == 30
    assert figures["gain_ci95"][0] > 0
    assert list(figures["ndcg@10"]) == [
        "early fusion",
        "late fusion",
        "cross-attention alone",
        "hybrid: late fusion, then re-ranking",
    ]
    model, _ = load_reranker(folder / "rerank.safetensors")
    held = marked[50:]
    inputs = batched(held, vectors, [np.arange(10)] * len(held)).inputs
    found = model(*inputs).numpy()
    relevant = np.stack([example.relevant for example in held])
    # calibrated on these: what is said to be likely is as likely as said, on the mean
    assert found.mean() == pytest.approx(relevant.mean(), abs=0.03)
    assert found[relevant].mean() > 1.3 * found[~relevant].mean()
