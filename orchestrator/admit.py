"""Stage admit: refuse what cannot be answered before it costs anything. ``gate`` bounds what is answered."""

from __future__ import annotations

import math

from orchestrator.errors import RequestError, TooLargeError
from orchestrator.feedback import check_user
from orchestrator.query import SearchQuery
from orchestrator.settings import AdmissionSettings

__all__ = ["MAX_WEIGHT", "check_query"]

MAX_WEIGHT = 10.0


def check_query(query: SearchQuery, settings: AdmissionSettings) -> None:
    """Counts and ranges of a query; its content is judged by ``classify``.

    Raises:
        RequestError: a number is out of range, or there is nothing to search for.
        TooLargeError: it has too many parts.
    """
    if not query.parts:
        raise RequestError("a query needs at least one part")
    if len(query.parts) > settings.max_parts:
        raise TooLargeError("the query has too many parts", limit=f"max_parts={settings.max_parts}")
    for index, part in enumerate(query.parts):
        if not math.isfinite(part.weight) or part.weight == 0 or abs(part.weight) > MAX_WEIGHT:
            raise RequestError(
                "a weight must be finite and not 0", part=index, limit=f"max_weight={MAX_WEIGHT:g}"
            )
    if all(part.weight < 0 for part in query.parts):
        raise RequestError("every part is negative: there is nothing to look for")
    if not query.targets:
        raise RequestError("no target modality is left")
    if not 1 <= query.limit <= settings.max_results:
        raise RequestError("limit is out of range", limit=f"max_results={settings.max_results}")
    if not 0 <= query.offset <= settings.max_offset:
        raise RequestError("offset is out of range", limit=f"max_offset={settings.max_offset}")
    if not 0 <= query.min_score <= 1:
        raise RequestError("min_score must lie between 0 and 1")
    if query.user:
        check_user(query.user)
    if query.mmr_lambda is not None and not 0 <= query.mmr_lambda <= 1:
        raise RequestError("mmr_lambda must lie between 0 and 1")
