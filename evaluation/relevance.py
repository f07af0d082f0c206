"""Ask every pair's queries of a running system and measure the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalogue.manifest import ManifestItem, read_manifest
from evaluation.client import Answer, EvaluationError, Sensorium
from evaluation.metrics import interval_of_ratio, per_query, summary
from evaluation.queries import PAIRS, Pair, Query, Relevance

__all__ = ["TARGETS", "evaluate"]

TARGETS = {"text->image": 0.31, "image->text": 0.23}
"""NDCG@10 that the first alignment has to reach."""
SPEECH_SHARE_TARGET = 0.55
SPOKEN, WRITTEN = "audio->image", "recorded text->image"
HOLDING = {"text->video": "clip", "text->audio": "effect"}
"""Pairs whose targets are only some items: a query counts when a relevant item has a file of that role."""

Progress = Callable[[str, int, int], None]


def evaluate(target: str, manifest: Path, progress: Progress) -> dict[str, Any]:
    """The report: `pairs[name]` holds metrics with intervals, latency per stage and degraded answers.

    Raises:
        EvaluationError: the system does not answer, or holds other items than the manifest.
        ManifestError: the manifest cannot be read.
    """
    items = list(read_manifest(manifest))
    if not any(item.split == "test" for item in items):
        raise EvaluationError(f"{manifest} has no test split: relevance is measured on the stamps")
    judged = Relevance(items)
    with Sensorium(target) as system:
        system.require([item.id for item in items])
        status = system.status()
        values: dict[str, dict[str, dict[str, float]]] = {}
        pairs: dict[str, Any] = {}
        for pair in PAIRS:
            queries = _answerable(pair, items, judged)
            answers: dict[str, Answer] = {}
            for number, query in enumerate(queries):
                progress(pair.name, number, len(queries))
                answers[query.name] = system.search(f"{pair.name} {query.name}", _content(query), pair.target)
            progress(pair.name, len(queries), len(queries))
            if queries:
                relevant = {query.name: judged.relevant(query) for query in queries}
                ranked = {query.name: judged.ranked(query, answers[query.name].ids) for query in queries}
                values[pair.name] = per_query(relevant, ranked)
                pairs[pair.name] = {
                    "about": pair.about,
                    **summary(values[pair.name]),
                    "latency_ms": _latency(list(answers.values())),
                    "degraded": sum(bool(answer.degraded) for answer in answers.values()),
                }
    report: dict[str, Any] = {
        "catalogue": {"items": len(items), "test": sum(item.split == "test" for item in items)},
        "profile": status.profile,
        "embedding_version": status.embedding_version,
        "models": dict(status.models),
        "pairs": pairs,
        "targets": TARGETS,
    }
    if SPOKEN in values:
        spoken, written = values[SPOKEN]["ndcg@10"], values[WRITTEN]["ndcg@10"]
        trained = {item.id for item in items if item.split == "train"}
        # most recordings are of items whose pictures were trained on: the others are told apart
        held_out = [name for name in spoken if name not in trained]
        report["speech_share"] = {
            **_share(spoken, written, list(spoken)),
            "target": SPEECH_SHARE_TARGET,
            "held_out": _share(spoken, written, held_out) if held_out else None,
        }
    return report


def _answerable(pair: Pair, items: Sequence[ManifestItem], judged: Relevance) -> list[Query]:
    """The pair's queries that have a relevant item with something to find."""
    role = HOLDING.get(pair.name)
    able = {item.id for item in items if role is None or item.paths(role)}
    return [query for query in pair.queries(items) if able.intersection(judged.relevant(query))]


def _content(query: Query) -> str | bytes:
    return query.content if isinstance(query.content, str) else query.content.read_bytes()


def _share(spoken: Mapping[str, float], written: Mapping[str, float], names: Sequence[str]) -> dict[str, Any]:
    """What speech reaches of what the same texts reach, over these queries."""
    heard, read = [spoken[name] for name in names], [written[name] for name in names]
    return {
        "ratio": float(np.mean(heard) / np.mean(read)) if np.mean(read) else 0.0,
        "ratio_ci95": list(interval_of_ratio(heard, read)),
        "spoken_ndcg@10": float(np.mean(heard)),
        "written_ndcg@10": float(np.mean(read)),
        "queries": len(names),
    }


def _latency(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile per stage, of the whole as the system tells it, and at the client."""
    series = {
        stage: [answer.stages_ms.get(stage, 0.0) for answer in answers]
        for stage in sorted({stage for answer in answers for stage in answer.stages_ms})
    }
    series["total"] = [answer.total_ms for answer in answers]
    series["client"] = [answer.wall_ms for answer in answers]
    return {
        stage: {"p50": float(np.percentile(times, 50)), "p95": float(np.percentile(times, 95))}
        for stage, times in series.items()
    }
