"""Alignment accuracy: how often the true partner is the nearest of 100 candidates.

The 99 others are drawn from the items that have the modality and another meaning. Instead of drawing once,
the share of all draws in which none of the others stands above the partner is computed: with m others in all
and a of them ranked above it, C(m - a, 99) / C(m, 99). That is the mean over every seed. The system answers
with 100 items at most; a partner that is not among them has some 100 above it and would be nearest in less
than one draw of a million of this catalogue, so it counts as 0. Where fewer than 99 others have the modality,
all of them are the candidates.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

__all__ = ["CANDIDATES", "nearest_share"]

CANDIDATES = 100


def nearest_share(partner: str, others: Collection[str], ranked: Sequence[str]) -> float:
    """The expected accuracy of one query, 0..1.

    Args:
        partner: the item the query was made from.
        others: ids of every candidate beside it.
        ranked: ids found, best first.
    """
    if partner not in ranked:
        return 0.0
    known = set(others)
    above = sum(item in known for item in ranked[: ranked.index(partner)])
    drawn = min(CANDIDATES - 1, len(known))
    return math.comb(len(known) - above, drawn) / math.comb(len(known), drawn)
