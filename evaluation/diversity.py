"""What MMR's lambda buys: diversity of the first ten against their relevance.

The API gives no vectors, so distance is told by words: two items are as far apart as the share of category,
tags and words of the description that they do not have in common (Jaccard distance); the intra-list distance
is its mean over all pairs of the first ten. Alpha-nDCG (Clarke et al. 2008, alpha 0.5) takes the category and
the tags of the item that a query was made from as the subtopics: each further item with the same tag counts
half. Relevance is NDCG@10 as in the rest of the evaluation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import alpha_nDCG

from catalogue.manifest import ManifestItem, read_manifest
from catalogue.split import Split, normalise
from evaluation.asked import QuerySets
from evaluation.client import EvaluationError, Sensorium
from evaluation.figures import Progress, values_by_query
from evaluation.judgements import Query, Relevance
from evaluation.metrics import per_query, summary
from queries.types import HasHome

__all__ = ["LAMBDAS", "alpha_ndcg", "intra_list_distance", "measure_diversity"]

LAMBDAS = tuple(round(step / 10, 1) for step in range(11))
KINDS = ("paraphrase", "photograph")
TOP = 10
ALPHA_NDCG = alpha_nDCG(alpha=0.5) @ TOP


def measure_diversity(
    target: str,
    manifest: Path,
    settings: HasHome,
    progress: Progress,
    split: Split = "test",
    options: Mapping[str, bool] | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """`diversity["<kind> <lambda>"]`: means with intervals of ndcg@10, alpha-ndcg@10 and distance.

    Raises:
        EvaluationError: the system does not answer, or holds other items than the manifest.
        CatalogueError, QueriesError: the manifest cannot be read or its queries cannot be made.
    """
    items = list(read_manifest(manifest))
    if not any(item.split == split for item in items):
        raise EvaluationError(f"{manifest} has no {split} split")
    judged, sets = Relevance(items), QuerySets(items, settings, split, quick)
    by_id = {item.id: item for item in items}
    found: dict[str, Any] = {}
    with Sensorium(target, options) as system:
        system.require([item.id for item in items])
        for kind, mmr_lambda in itertools.product(KINDS, LAMBDAS):
            queries = sets.of(kind)
            what = f"{kind} {mmr_lambda}"
            ranked: dict[str, list[str]] = {}
            for number, query in enumerate(queries):
                progress(what, number, len(queries))
                answer = system.search(query.name, query.parts, mmr_lambda=mmr_lambda)
                ranked[query.name] = list(answer.ids[:TOP])
            progress(what, len(queries), len(queries))
            relevant = {query.name: judged.relevant(query) for query in queries}
            values = {
                "ndcg@10": per_query(relevant, ranked)["ndcg@10"],
                "alpha-ndcg@10": alpha_ndcg(queries, ranked, items),
                "distance": {
                    name: intra_list_distance([by_id[item] for item in ids]) for name, ids in ranked.items()
                },
            }
            found[what] = {
                "kind": kind,
                "lambda": mmr_lambda,
                **summary(values),
                "per_query": values_by_query(values),
            }
    return {"diversity": found}


def intra_list_distance(items: Sequence[ManifestItem]) -> float:
    """Mean Jaccard distance over all pairs, 0..1; 0 for fewer than two items."""
    words = [_words(item) for item in items]
    pairs = [1 - len(a & b) / len(a | b) for a, b in itertools.combinations(words, 2)]
    return float(np.mean(pairs)) if pairs else 0.0


def alpha_ndcg(
    queries: Sequence[Query], ranked: Mapping[str, Sequence[str]], items: Sequence[ManifestItem]
) -> dict[str, float]:
    """Query -> alpha-nDCG@10 with the category and the tags of its item as subtopics."""
    topics = {item.id: {item.category, *item.tags} for item in items}
    judged = [
        ir_measures.Qrel(query.name, item, 1, topic)
        for query in queries
        for item, held in topics.items()
        for topic in sorted(held & topics[query.item.id])
    ]
    run = [
        ir_measures.ScoredDoc(name, item, float(-rank))
        for name, ids in ranked.items()
        for rank, item in enumerate(ids)
    ]
    values = dict.fromkeys((query.name for query in queries), 0.0)
    for value in ir_measures.iter_calc([ALPHA_NDCG], judged, run):
        values[value.query_id] = float(value.value)
    return values


def _words(item: ManifestItem) -> set[str]:
    return {item.category, *item.tags, *normalise(item.description).split()}
