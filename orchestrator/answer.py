"""Stage answer: candidates -> hits, with the item's fields and the moment that matched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.errors import SensoriumError
from orchestrator.ports import ItemStore
from orchestrator.query import Candidate, Hit, Moment
from orchestrator.trace import Trace, reason
from orchestrator.types import CatalogueItem, Modality

__all__ = ["build_hits", "moment"]

_MATCHED = 0.5


async def build_hits(
    candidates: Sequence[Candidate], items: ItemStore, trace: Trace, budget_s: float
) -> tuple[Hit, ...]:
    """One hit per candidate that is still stored.

    When the item store fails, hits carry ids alone and ``trace`` says so; an item that was deleted since it
    was found is left out, and that is said too.
    """
    try:
        async with asyncio.timeout(budget_s):
            stored = await items.get_many([candidate.item_id for candidate in candidates])
    except (SensoriumError, TimeoutError) as error:
        trace.degrade("answer", f"item fields: {reason(error)}")
        stored = {candidate.item_id: CatalogueItem(candidate.item_id) for candidate in candidates}
    hits = tuple(
        Hit(
            stored[candidate.item_id],
            candidate.score,
            candidate.signals,
            moment(candidate),
            candidate.influences,
        )
        for candidate in candidates
        if candidate.item_id in stored
    )
    if len(hits) < len(candidates):
        trace.degrade("answer", f"{len(candidates) - len(hits)} found but no longer stored")
    return hits


def moment(candidate: Candidate) -> Moment | None:
    """The stretch of a sound or video that matched best; None if none matched.

    Matched means: at least half as probable as the strongest signal for the item. A text finds an item by its
    description; that the item's sound is a hundredth as probable points at no moment in it.
    """
    speaking = [signal for signal in candidate.signals if signal.weight > 0]
    for signal in speaking:
        row = signal.row
        if signal.score < _MATCHED * speaking[0].score:
            break
        if row.modality in (Modality.AUDIO, Modality.VIDEO) and row.end_s > row.start_s:
            return Moment(row.modality, row.media_index, row.start_s, row.end_s)
    return None
