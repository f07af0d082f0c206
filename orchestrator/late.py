"""Evidence that came in after fusion, joined to the scores that stand.

Later evidence is one more reason for an item, so it joins as modalities do: noisy-or, 1 - (1 - p)(1 - q). It
never lowers a score. What it lifts stops at ``ceiling``, so it cannot pass an item that the query itself
found with more confidence than that; the order among such items stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.query import Candidate, Signal

__all__ = ["LateEvidence", "join"]


@dataclass(frozen=True, slots=True)
class LateEvidence:
    """``score`` (0..1): how probable it makes an item; ``signals`` are what it rests on."""

    score: float
    detail: str
    signals: tuple[Signal, ...]


def join(
    candidates: Sequence[Candidate], evidence: Mapping[str, LateEvidence], stage: str, ceiling: float
) -> list[Candidate]:
    """Candidates by falling score, each that ``evidence`` lifted with an influence of ``stage``.

    Items that only ``evidence`` knows come in. Equal scores keep the order of ``candidates``, newcomers by id
    behind them.
    """
    joined = [
        _lift(candidate, evidence[candidate.item_id], stage, ceiling)
        if candidate.item_id in evidence
        else candidate
        for candidate in candidates
    ]
    known = {candidate.item_id for candidate in candidates}
    joined += [
        _lift(Candidate(item_id, 0.0, evidence[item_id].signals), evidence[item_id], stage, ceiling)
        for item_id in sorted(evidence.keys() - known)
    ]
    joined.sort(key=lambda candidate: -candidate.score)
    return joined


def _lift(candidate: Candidate, evidence: LateEvidence, stage: str, ceiling: float) -> Candidate:
    lifted = min(1.0 - (1.0 - candidate.score) * (1.0 - evidence.score), ceiling)
    if lifted <= candidate.score:
        return candidate
    return candidate.scored(lifted, stage, evidence.detail)
