"""Relevance metrics by ir-measures, and their bootstrap intervals. `training` selects with the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
from ir_measures import RR, P, R, nDCG

__all__ = ["MEASURES", "graded_ndcg", "interval", "interval_of_ratio", "per_query", "summary"]

MEASURES = {"ndcg@5": nDCG @ 5, "ndcg@10": nDCG @ 10, "mrr": RR, "p@1": P @ 1, "recall@100": R @ 100}
RESAMPLES = 2_000


def per_query(
    relevant: Mapping[str, Sequence[str]], ranked: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Measure -> query -> value.

    Args:
        relevant: query -> ids of the items that answer it, all with gain 1; at least one each.
        ranked: query -> ids found, best first. A query that is missing or found nothing scores 0.

    Raises:
        ValueError: a query without a relevant item, or an id ranked twice for one query.
    """
    for query, items in relevant.items():
        if not items:
            raise ValueError(f"query {query} has no relevant item, so nothing can be measured")
        found = ranked.get(query, ())
        if len(set(found)) != len(found):
            raise ValueError(f"query {query} ranks an item twice")
    judged = {query: dict.fromkeys(items, 1) for query, items in relevant.items()}
    # a rank becomes a score, so that ties cannot be broken otherwise than the system broke them
    run = {query: {item: float(-rank) for rank, item in enumerate(ranked.get(query, ()))} for query in judged}
    values = {name: dict.fromkeys(judged, 0.0) for name in MEASURES}
    names = {str(measure): name for name, measure in MEASURES.items()}
    for value in ir_measures.iter_calc(list(MEASURES.values()), judged, run):
        values[names[str(value.measure)]][value.query_id] = float(value.value)
    return values


def graded_ndcg(
    gains: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Query -> NDCG@10 with linear gains (Jarvelin and Kekalainen 2002).

    Args:
        gains: query -> item -> gain, an integer; an item that is missing has none.
        ranked: query -> ids found, best first.
    """
    run = {query: {item: float(-rank) for rank, item in enumerate(found)} for query, found in ranked.items()}
    judged = {query: dict(items) for query, items in gains.items()}
    found = ir_measures.iter_calc([nDCG @ 10], judged, run)
    return dict.fromkeys(gains, 0.0) | {value.query_id: float(value.value) for value in found}


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % percentile-bootstrap interval of the mean (Efron and Tibshirani 1993), queries drawn with
    replacement."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("no values to resample")
    drawn = np.random.default_rng(seed).integers(0, data.size, (RESAMPLES, data.size))
    low, high = np.percentile(data[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def summary(values: Mapping[str, Mapping[str, float]]) -> dict[str, float | list[float] | int]:
    """Means of `per_query` with `<measure>_ci95` beside each, and the number of `queries`."""
    out: dict[str, float | list[float] | int] = {"queries": len(next(iter(values.values())))}
    for name, scores in values.items():
        figures = list(scores.values())
        out[name] = float(np.mean(figures))
        out[f"{name}_ci95"] = list(interval(figures))
    return out


def interval_of_ratio(above: Sequence[float], below: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of mean(above) / mean(below), the pairs drawn together."""
    pairs = np.asarray([above, below], dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    tops, bottoms = pairs[:, drawn].mean(axis=2)
    # a sample whose denominator is 0 says nothing about the ratio
    low, high = np.percentile((tops / np.where(bottoms > 0, bottoms, np.nan))[bottoms > 0], [2.5, 97.5])
    return float(low), float(high)
