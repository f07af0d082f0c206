"""Asking a set of queries, and the figures of the answers: relevance with intervals, latency per stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.client import Answer, Sensorium
from evaluation.judgements import Query
from evaluation.metrics import summary
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["Progress", "Values", "answered", "ask", "latency", "selected", "values_by_query"]

Progress = Callable[[str, int, int], None]
"""Called with (what is asked, done, of how many)."""
Values = Mapping[str, Mapping[str, float]]
"""Measure -> query -> value."""


def ask(
    system: Sensorium,
    what: str,
    queries: Sequence[Query],
    progress: Progress,
    targets: Sequence[pb.Modality] = (),
) -> dict[str, Answer]:
    """The answer to each query, by its name; one at a time, so that none waits for another.

    Raises:
        SearchFailedError: one was not answered.
    """
    answers = {}
    for number, query in enumerate(queries):
        progress(what, number, len(queries))
        answers[query.name] = system.search(f"{what} {query.name}", query.parts, targets)
    progress(what, len(queries), len(queries))
    return answers


def answered(values: Values, answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Means with intervals, latency, how many answers were degraded or had cached embeddings, and the values
    of each query."""
    return {
        **summary(values),
        "latency_ms": latency(list(answers.values())),
        "degraded": sum(bool(answer.degraded) for answer in answers.values()),
        "cached": sum(answer.cached for answer in answers.values()),
        "per_query": values_by_query(values),
    }


def values_by_query(values: Values) -> dict[str, dict[str, float]]:
    """Query -> measure -> value, six digits."""
    names = next(iter(values.values()))
    return {query: {name: round(found[query], 6) for name, found in values.items()} for query in names}


def selected(values: Values, names: Sequence[str]) -> dict[str, Any] | None:
    """Means with intervals over some of the queries, or None where there are none."""
    if not names:
        return None
    return summary({measure: {name: found[name] for name in names} for measure, found in values.items()})


def latency(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile in ms per stage, of the whole as the system tells it, and at the client."""
    series = {
        stage: [answer.stages_ms.get(stage, 0.0) for answer in answers]
        for stage in dict.fromkeys(stage for answer in answers for stage in answer.stages_ms)
    }
    series["total"] = [answer.total_ms for answer in answers]
    series["client"] = [answer.wall_ms for answer in answers]
    return {
        stage: {"p50": float(np.percentile(times, 50)), "p95": float(np.percentile(times, 95))}
        for stage, times in series.items()
    }
