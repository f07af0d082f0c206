"""What the evidence for one part of a query amounts to, by learned weights (docs/adr/0012-learned-fusion.md).

For a part of query modality m, with calibrated log-odds l of each pair that found the item:

    log-odds = bias[m] + sum over pairs of trust * weight[m, pair] * log(1 + exp(l - floor[m, pair]))

No weight is negative, so more similarity never hurts; the logarithm is 0 far below the floor, so that a pair
which found nothing, and one which found next to nothing, count alike. The result is a probability again:
`training` fits these numbers by the likelihood of relevance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from orchestrator.query import Signal, SignalSpace
from orchestrator.types import Modality

__all__ = ["Evidence", "PairWeight", "evidence_name"]

_LARGEST_ODDS = math.exp(15.0)
"""What a score that is sent (FP32) still tells from certainty."""

_LARGEST_SCORE = _LARGEST_ODDS / (1.0 + _LARGEST_ODDS)


@dataclass(frozen=True, slots=True)
class PairWeight:
    """What log-odds of one pair count for, from ``floor`` (log-odds) upwards. ``weight`` is at least 0."""

    weight: float
    floor: float
    _scale: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_scale", math.exp(-self.floor))

    def count(self, score: float) -> float:
        """What a calibrated score of 0..1 adds to the log-odds of the part, at least 0."""
        # log(1 + exp(l - floor)) with exp(l) the odds: one logarithm, as this runs for every signal.
        odds = score / (1.0 - score) if score < _LARGEST_SCORE else _LARGEST_ODDS
        return self.weight * math.log1p(odds * self._scale)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The learned fusion of the pairs of one query modality, by the names of ``evidence_name``."""

    bias: float
    pairs: Mapping[str, PairWeight]

    def weight(self, signal: Signal) -> float:
        """What the signal's pair counts for; 1 where nothing was learned."""
        pair = self.pairs.get(evidence_name(signal))
        return 1.0 if pair is None else pair.weight

    def probability(self, signals: Iterable[tuple[Signal, float]]) -> float:
        """Of an item, 0..1, from the signals of one part, each with the trust (0..1) put in it.

        Of several signals of a pair the one that counts most does. Pairs that nothing was learned for join by
        noisy-or.
        """
        counts: dict[str, float] = {}
        others: dict[str, float] = {}
        for signal, trust in signals:
            name = _name(signal.query_modality, signal.item_modality, signal.space)
            pair = self.pairs.get(name)
            if pair is None:
                others[name] = max(others.get(name, 0.0), trust * signal.score)
            else:
                counts[name] = max(counts.get(name, 0.0), trust * pair.count(signal.score))
        doubt = 1.0 / (1.0 + math.exp(min(self.bias + sum(counts.values()), _LARGEST_EXPONENT)))
        for score in others.values():
            doubt *= 1.0 - score
        return 1.0 - doubt


_LARGEST_EXPONENT = 700.0


def evidence_name(signal: Signal) -> str:
    """The pair of a signal: like a calibration's, but what was heard is told from what was written."""
    return _name(signal.query_modality, signal.item_modality, signal.space)


@cache
def _name(query: Modality, item: Modality, space: SignalSpace) -> str:
    if space == "transcript":
        return f"transcript->{item.value}"
    native = "/native" if space in ("audio", "video") else ""
    return f"{query.value}->{item.value}{native}"
