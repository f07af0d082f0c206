"""What a user's feedback says of them, as a few numbers, and what those say of an item.

All of it is observed against expected. An item of an answer would be chosen, by somebody without a taste, as
probably as its place is looked at (Joachims, Swaminathan and Schnabel, "Unbiased learning-to-rank with biased
feedback", WSDM 2017) and as it answers the query (its score before personalisation). What a user chose in an
answer is set against that expectation within the same answer, so that neither what stood on top, nor what the
catalogue has much of, nor what they happened to ask for passes for a taste.

- ``taste``: per modality the direction from the expected unified vectors to those of what was liked, disliked
  things subtracted (Rocchio, "Relevance feedback in information retrieval", 1971).
- ``category``, ``tags``, ``modality``: log((observed + k) / (expected + k)) per value. The k pseudo-choices
  draw a ratio of few clicks to 0 (gamma-Poisson shrinkage: DuMouchel, "Bayesian data mining in large
  frequency tables", The American Statistician, 1999).

Everything decays by half each ``half_life_s``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from orchestrator.feedback import Event, EventKind, History, Impression
from orchestrator.types import FloatArray, Modality

__all__ = ["Facts", "Profile", "affinities", "build_profile", "features", "liking", "looked_at"]

_PSEUDO = 5.0
"""Choices after which half of what they say is believed."""
_PSEUDO_VALUE = 2.0
"""The k of a ratio."""
_MOST = math.log(8)
_NOTHING = 1e-6
_LIKED_DWELL_MS = 30_000.0
_LOOKED_AT = 20
"""Places of an answer that count as possibly seen; deeper ones count when something was done there."""
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
    seen: list[_Seen] = []
    for impression in history.impressions:
        if impression.request_id in by_request:
            liked = liking(by_request[impression.request_id], now_s, half_life_s)
            seen += _weighed(impression, liked, facts, examined)
    mass = sum(abs(item.observed) for item in seen)
    if not mass:
        return None
    return Profile(
        belief=mass / (mass + _PSEUDO),
        taste={m: t for m in (Modality.TEXT, Modality.IMAGE) if (t := _taste(seen, m)) is not None},
        category=affinities(({each.facts.category: 1.0}, each.observed, each.expected) for each in seen),
        tags=affinities((dict.fromkeys(each.facts.tags, 1.0), each.observed, each.expected) for each in seen),
        modality=affinities((each.modality, each.observed, each.expected) for each in seen),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """An item of an answer: how much it was liked, and how much it would have been without a taste."""

    facts: Facts
    modality: Mapping[str, float]
    observed: float
    expected: float


def _weighed(
    impression: Impression, liked: Mapping[str, float], facts: Mapping[str, Facts], examined: Examined
) -> list[_Seen]:
    """The known items of one answer; expectations sum to what was liked, or disliked if that is more."""
    known = [
        item
        for item in impression.shown
        if item.item_id in facts and (item.position <= _LOOKED_AT or item.item_id in liked)
    ]
    chances = [examined(item.position) * item.base for item in known]
    total = sum(chances)
    mass = sum(max(liked.get(item.item_id, 0.0), 0.0) for item in known)
    return [
        _Seen(
            facts[item.item_id],
            _by_modality(item.evidence),
            liked.get(item.item_id, 0.0),
            mass * chance / total if total else 0.0,
        )
        for item, chance in zip(known, chances, strict=True)
    ]


def affinities(seen: Iterable[tuple[Mapping[str, float], float, float]]) -> dict[str, float]:
    """Log ratio per value, from (values with their shares, observed, expected)."""
    observed: dict[str, float] = {}
    expected: dict[str, float] = {}
    for values, liked, chance in seen:
        for value, share in values.items():
            observed[value] = observed.get(value, 0.0) + liked * share
            expected[value] = expected.get(value, 0.0) + chance * share
    ratios = {}
    for value, liked in observed.items():
        # Dislikes alone may weigh more than the pseudo-choices: the floor keeps the logarithm finite.
        above = max(liked + _PSEUDO_VALUE, _PSEUDO_VALUE * math.exp(-_MOST))
        ratio = math.log(above / (expected[value] + _PSEUDO_VALUE))
        ratios[value] = max(-_MOST, min(_MOST, ratio))
    return ratios


def _by_modality(evidence: Mapping[str, float]) -> dict[str, float]:
    """Shares per item modality, from shares per pair ("text->image", "audio->audio/native")."""
    shares: dict[str, float] = {}
    for pair, share in evidence.items():
        modality = pair.partition("->")[2].partition("/")[0]
        shares[modality] = shares.get(modality, 0.0) + share
    return shares


def _taste(seen: Iterable[_Seen], modality: Modality) -> FloatArray | None:
    pulls = [
        each.facts.vectors[modality] * (each.observed - each.expected)
        for each in seen
        if modality in each.facts.vectors
    ]
    if not pulls:
        return None
    direction = np.sum(pulls, axis=0)
    norm = float(np.linalg.norm(direction))
    return (direction / norm).astype(np.float32) if norm > _NOTHING else None


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
