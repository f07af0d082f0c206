"""Late fusion: calibrated signals -> one score per item.

Three steps, each on probabilities (docs/adr/0005-mixed-queries.md says why these):

1. Within a part, spaces of the same pair of modalities look at the same row twice, so the better one counts.
2. Within a part, modalities of an item are separate evidence: noisy-or, 1 - prod(1 - trust * p)
   (Pearl, 1988). More evidence never hurts, and an item found in one modality only is not punished for
   having no other. Where weights were learned for the part's modality, they take the place of steps 1 and 2
   (``evidence.py``).
3. Across parts: positive ones are joined by the weighted geometric mean, a soft "and" (the logarithmic
   opinion pool; Genest and Zidek, 1986), whose order does not change when one pair of modalities is
   calibrated too high or too low by a factor. Negative ones multiply by (1 - p) to the power of their weight
   relative to the mean positive one. Scaling all weights changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from orchestrator.evidence import Evidence
from orchestrator.query import Candidate, Signal
from orchestrator.types import Modality

__all__ = ["FLOOR", "Learned", "explain", "fuse"]

Learned = Mapping[Modality, Evidence]
"""Learned fusion by query modality; parts of a modality that is not in it are joined by noisy-or."""

FLOOR = 1e-4
"""The probability of a part for which there is no evidence in an item: small, yet not a veto."""

_CEILING = 1.0 - 1e-6


def fuse(
    signals: Iterable[Signal], weights: Mapping[int, float], learned: Learned | None = None
) -> list[Candidate]:
    """Items by falling score, equal ones by id.

    ``weights`` holds the weight of every part, at least one of them positive. Each signal names one of them,
    and its own weight is that of its part times the trust put in it.
    """
    by_item: dict[str, list[Signal]] = {}
    for signal in signals:
        by_item.setdefault(signal.row.item_id, []).append(signal)
    learned = learned or {}
    alone = next(iter(weights.values())) if len(weights) == 1 else None
    candidates = []
    for item_id, found in by_item.items():
        if alone is None:
            score = _combine(_beliefs(found, weights, learned), weights)
        else:  # the common case needs no join
            score = _belief([(signal, signal.weight / alone) for signal in found], learned)
        if len(found) > 1:
            found.sort(key=attrgetter("score"), reverse=True)
        candidates.append(Candidate(item_id, score, tuple(found)))
    candidates.sort(key=lambda candidate: (-candidate.score, candidate.item_id))
    return candidates


def explain(candidates: Sequence[Candidate], learned: Learned) -> list[Candidate]:
    """The candidates, the weight of each signal times what was learned for its pair."""
    explained = []
    for candidate in candidates:
        signals = []
        for signal in candidate.signals:
            evidence = learned.get(signal.query_modality)
            weight = 1.0 if evidence is None else evidence.weight(signal)
            signals.append(signal if weight == 1.0 else replace(signal, weight=signal.weight * weight))
        explained.append(replace(candidate, signals=tuple(signals)))
    return explained


def _beliefs(signals: Iterable[Signal], weights: Mapping[int, float], learned: Learned) -> dict[int, float]:
    """Per part that has evidence: the probability that the item is what the part means."""
    parts: dict[int, list[tuple[Signal, float]]] = {}
    for signal in signals:
        trust = signal.weight / weights[signal.part]
        parts.setdefault(signal.part, []).append((signal, trust))
    return {part: _belief(trusted, learned) for part, trusted in parts.items()}


def _belief(trusted: Sequence[tuple[Signal, float]], learned: Learned) -> float:
    evidence = learned.get(trusted[0][0].query_modality)
    return _noisy_or(trusted) if evidence is None else evidence.probability(trusted)


def _noisy_or(trusted: Iterable[tuple[Signal, float]]) -> float:
    best: dict[tuple[Modality, bool], float] = {}
    for signal, trust in trusted:
        source = (signal.item_modality, signal.space == "transcript")
        best[source] = max(best.get(source, 0.0), signal.score * trust)
    doubt = 1.0
    for evidence in best.values():
        doubt *= 1.0 - evidence
    return 1.0 - doubt


def _combine(beliefs: Mapping[int, float], weights: Mapping[int, float]) -> float:
    positive = [weight for weight in weights.values() if weight > 0]
    total = sum(positive)
    logarithm = 0.0
    for part, weight in weights.items():
        if weight > 0:
            logarithm += weight / total * math.log(max(beliefs.get(part, 0.0), FLOOR))
        else:
            # The ceiling keeps a certain dislike finite, so that weights still tell disliked items apart.
            strength = -weight * len(positive) / total
            logarithm += strength * math.log1p(-min(beliefs.get(part, 0.0), _CEILING))
    return math.exp(logarithm)
