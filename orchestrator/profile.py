"""What a user's feedback says of them, as a few numbers, and what those say of an item.

A profile has four parts, each a contrast of what was chosen with what was looked at, so that neither what the
catalogue has much of nor what stood on top passes for a taste:

- ``taste``: per modality the direction from the mean unified vector of what was looked at to the weighted
  mean of what was liked, disliked things subtracted (Rocchio, "Relevance feedback in information retrieval",
  1971).
- ``category``, ``tags``, ``modality``: log ratios of shares, log((C_t + k q_t) / ((C + k) q_t)), with C_t the
  feedback for a value, C that for all, and q_t the value's share of what was looked at. k pseudo-observations
  draw a ratio of few clicks to 0 (additive smoothing towards a background: Zhai and Lafferty, "A study of
  smoothing methods for language models", TOIS 2004).

What was looked at: every item of an answer with feedback, as probably as its place is examined (the position
bias of Joachims, Swaminathan and Schnabel, "Unbiased learning-to-rank with biased feedback", WSDM 2017).
Everything decays by half each ``half_life_s``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from orchestrator.feedback import Event, EventKind, History
from orchestrator.types import FloatArray, Modality

__all__ = ["Facts", "Profile", "affinities", "build_profile", "features", "liking", "looked_at"]

_PSEUDO = 5.0
"""Clicks after which half of what they say is believed."""
_MOST = math.log(8)
_LIKED_DWELL_MS = 30_000.0
_LOOKED_AT = 20
"""Places of an answer that count as possibly seen."""
_WEIGHT = {EventKind.CLICK: 1.0, EventKind.ADD: 2.0}
_DISLIKED = -1.0

Examined = Callable[[int], float]
"""The probability that what stands at a place (from 1) is looked at."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a profile can know an item by. ``vectors``: unified [1024] of its text and its first picture."""

    category: str = ""
    tags: tuple[str, ...] = ()
    vectors: Mapping[Modality, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """``taste`` holds unit vectors [1024], the others log ratios within +-log 8; ``belief`` is 0..1."""

    belief: float
    taste: Mapping[Modality, FloatArray]
    category: Mapping[str, float]
    tags: Mapping[str, float]
    modality: Mapping[str, float]


def liking(events: Iterable[tuple[Event, float]], now_s: float, half_life_s: float) -> dict[str, float]:
    """How much an item of one answer was liked, from (event, seconds of the epoch); negative: disliked.

    The strongest sign counts, so that a click and the dwell after it are one; a dismissal outweighs any.
    """
    liked: dict[str, float] = {}
    disliked: dict[str, float] = {}
    for event, at_s in events:
        decay = 0.5 ** (max(0.0, now_s - at_s) / half_life_s)
        if event.kind is EventKind.DISMISS:
            disliked[event.item_id] = _DISLIKED * decay
            continue
        weight = _WEIGHT.get(event.kind, min(event.dwell_ms / _LIKED_DWELL_MS, 1.0))
        liked[event.item_id] = max(liked.get(event.item_id, 0.0), weight * decay)
    return {**liked, **disliked}


def looked_at(history: History) -> list[str]:
    """Items whose facts a profile needs, those of the newest answers first, each once."""
    touched = {stored.event.request_id for stored in history.events}
    shown = (
        item.item_id
        for impression in history.impressions
        if impression.request_id in touched
        for item in impression.shown[:_LOOKED_AT]
    )
    return list(dict.fromkeys([*(stored.event.item_id for stored in history.events), *shown]))


def build_profile(
    history: History, facts: Mapping[str, Facts], examined: Examined, now_s: float, half_life_s: float
) -> Profile | None:
    """The profile of a history, None when nothing was done with any answer. Items without facts are passed
    over."""
    by_request: dict[str, list[tuple[Event, float]]] = {}
    for stored in history.events:
        by_request.setdefault(stored.event.request_id, []).append((stored.event, stored.at_s))
    chosen: list[tuple[Facts, Mapping[str, float], float]] = []
    seen: list[tuple[Facts, Mapping[str, float], float]] = []
    for impression in history.impressions:
        if impression.request_id not in by_request:
            continue
        liked = liking(by_request[impression.request_id], now_s, half_life_s)
        decay = 0.5 ** (max(0.0, now_s - impression.at_s) / half_life_s)
        for item in impression.shown:
            known = facts.get(item.item_id)
            if known is None:
                continue
            modality = _by_modality(item.evidence)
            if item.item_id in liked:
                chosen.append((known, modality, liked[item.item_id]))
            if item.position <= _LOOKED_AT:
                seen.append((known, modality, decay * examined(item.position)))
    mass = sum(abs(weight) for _, _, weight in chosen)
    if not mass:
        return None
    return Profile(
        belief=mass / (mass + _PSEUDO),
        taste={m: t for m in (Modality.TEXT, Modality.IMAGE) if (t := _taste(chosen, seen, m)) is not None},
        category=affinities(
            (({known.category: 1.0}, weight) for known, _, weight in chosen),
            (({known.category: 1.0}, weight) for known, _, weight in seen),
        ),
        tags=affinities(
            ((dict.fromkeys(known.tags, 1.0), weight) for known, _, weight in chosen),
            ((dict.fromkeys(known.tags, 1.0), weight) for known, _, weight in seen),
        ),
        modality=affinities(
            ((modality, weight) for _, modality, weight in chosen),
            ((modality, weight) for _, modality, weight in seen),
        ),
    )


def affinities(
    chosen: Iterable[tuple[Mapping[str, float], float]], seen: Iterable[tuple[Mapping[str, float], float]]
) -> dict[str, float]:
    """Log ratio per value, from (values with their shares, weight of the observation)."""
    background, total = _sums(seen)
    found, mass = _sums(chosen)
    ratios = {}
    for value, weight in background.items():
        expected = _PSEUDO * weight / total
        observed = max(expected + found.get(value, 0.0), expected * math.exp(-_MOST))
        ratio = math.log(observed / (expected * (mass + _PSEUDO) / _PSEUDO))
        ratios[value] = max(-_MOST, min(_MOST, ratio))
    return ratios


def _sums(observed: Iterable[tuple[Mapping[str, float], float]]) -> tuple[dict[str, float], float]:
    """Weight per value, and the weight of all observations in favour."""
    sums: dict[str, float] = {}
    total = 0.0
    for values, weight in observed:
        total += max(weight, 0.0)
        for value, share in values.items():
            sums[value] = sums.get(value, 0.0) + weight * share
    return sums, total


def _by_modality(evidence: Mapping[str, float]) -> dict[str, float]:
    """Shares per item modality, from shares per pair ("text->image", "audio->audio/native")."""
    shares: dict[str, float] = {}
    for pair, share in evidence.items():
        modality = pair.partition("->")[2].partition("/")[0]
        shares[modality] = shares.get(modality, 0.0) + share
    return shares


def _taste(
    chosen: Iterable[tuple[Facts, Mapping[str, float], float]],
    seen: Iterable[tuple[Facts, Mapping[str, float], float]],
    modality: Modality,
) -> FloatArray | None:
    liked = [(known.vectors[modality], weight) for known, _, weight in chosen if modality in known.vectors]
    looked = [(known.vectors[modality], weight) for known, _, weight in seen if modality in known.vectors]
    mass, attention = sum(abs(weight) for _, weight in liked), sum(weight for _, weight in looked)
    if not mass or not attention:
        return None
    middle = np.sum([vector * (weight / attention) for vector, weight in looked], axis=0)
    # Relative to the middle, so that a dislike points away from the item and not to the other end of space.
    direction = np.sum([(vector - middle) * (weight / mass) for vector, weight in liked], axis=0)
    norm = float(np.linalg.norm(direction))
    return (direction / norm).astype(np.float32) if norm > 1e-6 else None


def features(profile: Profile, facts: Facts, evidence: Mapping[str, float]) -> dict[str, float]:
    """What a profile says of an item, by the names of ``feedback.FEATURES``; 0 where it says nothing."""
    near = [float(vector @ facts.vectors[m]) for m, vector in profile.taste.items() if m in facts.vectors]
    tags = sum(profile.tags.get(tag, 0.0) for tag in facts.tags)
    return {
        "taste": profile.belief * sum(near) / len(near) if near else 0.0,
        "category": profile.category.get(facts.category, 0.0),
        "tags": max(-_MOST, min(_MOST, tags)),
        "modality": sum(
            share * profile.modality.get(modality, 0.0) for modality, share in _by_modality(evidence).items()
        ),
    }
