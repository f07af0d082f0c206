"""Stage record: what was shown to a user is kept, so that their feedback can be learned from."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

from orchestrator.compose import Composition
from orchestrator.errors import SensoriumError
from orchestrator.feedback import FeedbackStore, Impression, Shown
from orchestrator.personalise import Standing, evidence
from orchestrator.query import Candidate, SearchQuery
from orchestrator.trace import Trace, reason

__all__ = ["impression", "record"]

_DIGITS = 6


def impression(
    query: SearchQuery,
    composition: Composition,
    page: Sequence[Candidate],
    standings: Mapping[str, Standing],
    at_s: float,
) -> Impression:
    """The page of an answer as its user saw it; no content of the query, only a hash of its vectors."""
    digest = hashlib.sha256()
    for vector in composition.vectors:
        digest.update(f"{vector.space} {vector.weight:.6g} ".encode() + vector.vector.tobytes())
    shown = []
    for place, candidate in enumerate(page, query.offset + 1):
        standing = standings.get(candidate.item_id, Standing(candidate.score))
        shown.append(
            Shown(
                candidate.item_id,
                place,
                round(candidate.score, _DIGITS),
                round(standing.base, _DIGITS),
                {pair: round(share, _DIGITS) for pair, share in evidence(candidate).items()},
                {name: round(value, _DIGITS) for name, value in standing.features.items()},
            )
        )
    return Impression(query.request_id, query.user, at_s, digest.hexdigest()[:32], tuple(shown))


async def record(feedback: FeedbackStore, what: Impression, trace: Trace, budget_s: float) -> None:
    """Keeps it. A store that fails costs what could have been learned, not the answer; ``trace`` says so."""
    try:
        async with asyncio.timeout(budget_s):
            await feedback.record(what)
    except (SensoriumError, TimeoutError) as error:
        trace.degrade("record", reason(error))
