"""What the fixed queries find before any fault, and whether an answer is still the same."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["DEPTH", "LIMIT", "TOLERANCE", "Before", "question"]

LIMIT = 10
DEPTH = 50
"""Hits that are learned: what is just behind the tenth may change places with it."""
TOLERANCE = 0.05
"""Of a score, beyond what was seen before any fault."""


def question(modality: str, content: bytes, without: str, limit: int = LIMIT) -> pb.SearchRequest:
    """The search for `content` among items outside the category `without`, in the order of their scores."""
    part = pb.QueryPart(text=content.decode()) if modality == "text" else pb.QueryPart(data=content)
    request = pb.SearchRequest(parts=[part], limit=limit, mmr_lambda=1.0)
    # `not` is a word of Python's, so the field has to be reached by its name.
    getattr(request.filter, "not").category.values.append(without)
    return request


class Before:
    """The answers to one query before any fault.

    Scores depend on what is asked at the same time (those of sounds by up to 0.3): each item has the range of
    the scores that were seen, alone and in company.
    """

    def __init__(self) -> None:
        self._ranges: dict[str, tuple[float, float]] = {}

    def learn(self, hits: Sequence[pb.Hit]) -> None:
        """Adds an answer of DEPTH hits."""
        for hit in hits:
            low, high = self._ranges.get(hit.item.id, (hit.score, hit.score))
            self._ranges[hit.item.id] = min(low, hit.score), max(high, hit.score)

    @property
    def spread(self) -> float:
        """The widest range of an item that counts among the best."""
        best = sorted(self._ranges.values(), key=lambda each: -each[1])[:LIMIT]
        return max((high - low for low, high in best), default=0.0)

    def differs(self, hits: Sequence[pb.Hit]) -> str:
        """How an answer of LIMIT hits is another, or ""."""
        scores = {hit.item.id: hit.score for hit in hits}
        if len(scores) < min(LIMIT, len(self._ranges)):
            return "hits are missing"
        for item, score in scores.items():
            if item not in self._ranges:
                return f"{item} was not found before"
            low, high = self._ranges[item]
            if not low - TOLERANCE <= score <= high + TOLERANCE:
                return f"{item} scores {score:.3f}, before {low:.3f} to {high:.3f}"
        last = min(scores.values(), default=0.0)
        for item, (low, _) in self._ranges.items():
            if low > last + TOLERANCE and item not in scores:
                return f"{item} is missing"
        return ""
