"""One training of the re-ranker, from a running system to its checkpoint and figures."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from catalogue.manifest import read_manifest
from evaluation.metrics import interval
from export.reranker import ROWS, Reranker, Shape
from export.settings import Settings
from export.trained_steps import heads_sha256
from queries import KINDS as QUERY_KINDS
from queries import MadeQuery, make_queries
from training.calibration import Examples, expected_error, fit_logistic
from training.catalogue_data import load_stamps
from training.checkpoints import write_json
from training.rerank_data import Example, Gallery, Triton, collect, embed_gallery
from training.reranker import Schedule, fit, ndcg_by_query, scores
from training.store import Progress

__all__ = ["SHAPES", "train_reranker"]

SHAPES = {"lite": Shape(), "reference": Shape(layers=6, width=768, heads=12, hidden=3072)}
SPLITS = ("train", "validation")
MAX_QUERIES = 250
"""Of a kind and the train split, chosen by the hash of their names: more take longer than they teach."""
MIN_GAIN = 0.01
"""NDCG@10 that re-ranking must add to be on by default: beside Milvus Lite it costs as much as the search."""
MIN_QUERIES = 20
"""Kinds with fewer validation queries are never switched on: their interval says little."""

Values = npt.NDArray[np.float64]


def train_reranker(
    profile: str,
    settings: Settings,
    target: str,
    triton_url: str,
    threads: int,
    progress: Progress,
    seed: int = 0,
) -> dict[str, Any]:
    """Ask, train, calibrate; writes `<checkpoints>/<profile>/rerank.safetensors` and `rerank.json`.

    Raises:
        TrainingError, CatalogueError, QueriesError: something cannot be had, or the system fails.
    """
    torch.set_num_threads(threads)
    started = time.monotonic()
    manifest = settings.home / "catalogues" / "stamps" / "manifest.jsonl"
    stamps = [stamp for stamp in load_stamps(manifest) if stamp.split in SPLITS]
    with Triton(triton_url) as triton:
        gallery = embed_gallery(stamps, triton, progress)
        examples = collect(target, triton, gallery, _queries(manifest, settings, progress), progress)
    train = [example for example in examples if example.split == "train"]
    held = [example for example in examples if example.split == "validation"]
    schedule = Schedule(seed=seed)
    shape = SHAPES[profile]
    vectors = gallery.vectors
    model, curve = fit(shape, train, held, vectors, schedule, progress, "re-ranker")
    pure, pure_curve = fit(
        replace(shape, scores=False), train, held, vectors, schedule, progress, "vectors alone"
    )
    scored = scores(model, held, vectors)
    logistic = fit_logistic(_judged(held, scored))
    model.scale.fill_(logistic.scale)
    model.bias.fill_(logistic.bias)
    late = ndcg_by_query(held)
    ways = {
        "early fusion": early_fusion(held, gallery),
        "late fusion": late,
        "cross-attention alone": ndcg_by_query(held, scores(pure, held, vectors)),
        "hybrid: late fusion, then re-ranking": ndcg_by_query(held, scored),
    }
    figures = {kind: _figures(held, ways, kind) for kind in _kinds(held)}
    gains = {kind: _gain(held, ways, kind) for kind in {example.kind for example in held}}
    helps = sorted(
        kind
        for kind, (gain, (low, _)) in gains.items()
        if gain >= MIN_GAIN and low > 0 and sum(e.kind == kind for e in held) >= MIN_QUERIES
    )
    folder = settings.checkpoints / profile
    about = {"heads_sha256": heads_sha256(folder), "default_for": helps}
    _save(model, about, folder / "rerank.safetensors")
    metrics: dict[str, Any] = {
        **about,
        "shape": asdict(shape),
        "schedule": asdict(schedule),
        "seconds": round(time.monotonic() - started),
        "queries": {split: _counts([e for e in examples if e.split == split]) for split in SPLITS},
        "validation": figures,
        "by_served_kind": {
            kind: dict(zip(("gain", "gain_ci95"), _gain(held, ways, kind), strict=True))
            for kind in sorted({example.kind for example in held})
        },
        "expected_calibration_error": {
            "fused": _fused_error(held),
            "re-ranked": expected_error(_judged(held, scored), logistic),
        },
        "curves": {"re-ranker": curve, "vectors alone": pure_curve},
        "fuse_ms_p50": float(np.median([example.fuse_ms for example in held])),
    }
    write_json(folder / "rerank.json", metrics)
    return {**metrics, "table": table(figures)}


def early_fusion(examples: Sequence[Example], gallery: Gallery) -> Values:
    """NDCG@10 [n] of one vector an item and a query: rows concatenated, the weighted sum of parts in each
    slot.

    With as many slots as modalities and unit norm, the cosine is the mean one over an item's rows, more rows
    counting for more. Of several rows of a modality an item has their mean.
    """
    items = sorted(gallery.stamps)
    slots = np.zeros((len(items), len(ROWS), gallery.vectors.shape[1]), np.float32)
    for place, item in enumerate(items):
        for slot, row in enumerate(ROWS):
            if there := gallery.places.get((item, row)):
                slots[place, slot] = gallery.vectors[there].mean(axis=0)
    whole = slots.reshape(len(items), -1)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    summed = whole.reshape(slots.shape).sum(axis=1)
    found = []
    for example in examples:
        query = (example.query_weight[:, None] * example.query).sum(axis=0)
        order = np.argsort(-(summed @ query), kind="stable")
        ranked = tuple(items[place] for place in order[:100])
        found.append(replace(example, found=ranked, behind=()))
    return ndcg_by_query(found)


def table(figures: dict[str, Any]) -> str:
    """The validation figures as Markdown."""
    ways = list(next(iter(figures.values()))["ndcg@10"])
    lines = [
        f"| queries | number | {' | '.join(ways)} | re-ranking adds | 95 % |",
        "|---|--:" + "|--:" * (len(ways) + 1) + "|---|",
    ]
    for kind, figure in figures.items():
        cells = [f"{figure['ndcg@10'][way]:.3f}" for way in ways]
        low, high = figure["gain_ci95"]
        numbers = f"| {figure['gain']:+.3f} | {low:+.3f} to {high:+.3f} |"
        lines.append(f"| {kind} | {figure['queries']} | {' | '.join(cells)} {numbers}")
    return "\n".join(lines)


def _queries(manifest: Path, settings: Settings, progress: Progress) -> list[MadeQuery]:
    """Of every kind, of train and validation items."""
    items = list(read_manifest(manifest))
    kept = [item for item in items if item.split in SPLITS]
    made: list[MadeQuery] = []
    for number, kind in enumerate(QUERY_KINDS):
        progress("queries", number, len(QUERY_KINDS))
        # what is made of words looks at all descriptions, so that no paraphrase is one of them
        of_all = kind in ("paraphrase", "speech", "mix")
        found = [q for q in make_queries(kind, items if of_all else kept, settings) if q.item.split in SPLITS]
        found.sort(key=lambda query: hashlib.sha256(query.name.encode()).digest())
        made += [query for query in found if query.item.split == "train"][:MAX_QUERIES]
        made += [query for query in found if query.item.split == "validation"]
    progress("queries", len(QUERY_KINDS), len(QUERY_KINDS))
    return made


def _kinds(examples: Sequence[Example]) -> list[str]:
    return [kind for kind in (*QUERY_KINDS, "negative") if any(example.asks == kind for example in examples)]


def _figures(examples: Sequence[Example], ways: dict[str, Values], kind: str) -> dict[str, Any]:
    rows = np.array([example.asks == kind for example in examples])
    values = list(ways.values())
    gains = values[-1][rows] - values[1][rows]
    return {
        "queries": int(rows.sum()),
        "ndcg@10": {way: float(value[rows].mean()) for way, value in ways.items()},
        "gain": float(gains.mean()),
        "gain_ci95": list(interval(gains.tolist())),
    }


def _gain(
    examples: Sequence[Example], ways: dict[str, Values], kind: str
) -> tuple[float, tuple[float, float]]:
    """What re-ranking adds for the queries that are served as ``kind``, with its paired interval."""
    rows = np.array([example.kind == kind for example in examples])
    values = list(ways.values())
    gains = values[-1][rows] - values[1][rows]
    return float(gains.mean()), interval(gains.tolist())


def _judged(examples: Sequence[Example], scored: Sequence[npt.NDArray[np.float32]]) -> Examples:
    return Examples(
        np.concatenate(scored).astype(np.float64), np.concatenate([example.relevant for example in examples])
    )


def _fused_error(examples: Sequence[Example]) -> float:
    judged = _judged(examples, [example.fused for example in examples])
    return expected_error(judged, lambda probability: probability)


def _counts(examples: Sequence[Example]) -> dict[str, int]:
    return {kind: sum(example.asks == kind for example in examples) for kind in _kinds(examples)}


def _save(model: Reranker, about: dict[str, Any], path: Path) -> None:
    state = {
        name: value.detach().to(torch.float16).contiguous() for name, value in model.state_dict().items()
    }
    partial = path.with_suffix(".partial")
    metadata = {"shape": json.dumps(asdict(model.shape)), "about": json.dumps(about)}
    save_file(state, partial, metadata=metadata)
    partial.chmod(0o644)  # safetensors writes files that only their owner may read
    partial.replace(path)
