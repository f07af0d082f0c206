"""What the fixed queries find before any fault, and whether an answer is still the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["DEPTH", "LIMIT", "TOLERANCE", "differs", "question"]

LIMIT = 10
DEPTH = 50
"""Hits that the answer of before is kept with: what is just behind the tenth may change places with it."""
TOLERANCE = 0.05
"""Of a score: encoders in INT8 give slightly other vectors in other batches."""


def question(modality: str, content: bytes, without: str, limit: int = LIMIT) -> pb.SearchRequest:
    """The search for `content` among items outside the category `without`, in the order of their scores."""
    part = pb.QueryPart(text=content.decode()) if modality == "text" else pb.QueryPart(data=content)
    request = pb.SearchRequest(parts=[part], limit=limit, mmr_lambda=1.0)
    # `not` is a word of Python's, so the field has to be reached by its name.
    getattr(request.filter, "not").category.values.append(without)
    return request


def differs(hits: Sequence[pb.Hit], before: Mapping[str, float]) -> str:
    """How the best hits are others than they were `before` (score by item), or ""."""
    scores = {hit.item.id: hit.score for hit in hits}
    if len(scores) < min(LIMIT, len(before)):
        return "hits are missing"
    for item, score in scores.items():
        if item not in before:
            return "an item that was not found before"
        if abs(score - before[item]) > TOLERANCE:
            return "another score"
    last = min(scores.values(), default=0.0)
    if any(score > last + TOLERANCE and item not in scores for item, score in before.items()):
        return "a better item is missing"
    return ""
