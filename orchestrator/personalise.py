"""Stage personalise: what the user's feedback taught moves candidates, within a bound.

Scores are probabilities, so it works on log-odds: each candidate is moved by the strengths times what the
profile says of it, relative to the mean over the candidates (a taste that all of them meet says nothing, and
scores stay calibrated on the whole), and never by more than ``max_log_odds``: the sum goes through
cap * tanh(sum / cap). So what is ahead by twice the cap stays ahead, whoever asks.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cachetools import TTLCache

from orchestrator.calibrate import pair_name
from orchestrator.deadlines import together
from orchestrator.errors import SensoriumError
from orchestrator.feedback import FeedbackStore
from orchestrator.ports import ItemStore, VectorStore
from orchestrator.profile import Facts, Profile, build_profile, features, looked_at
from orchestrator.query import Candidate, SearchQuery
from orchestrator.settings import PersonaliseSettings
from orchestrator.strengths import Strengths
from orchestrator.trace import Trace, reason
from orchestrator.types import FloatArray, Modality, row_key

__all__ = ["Personaliser", "Standing", "evidence", "move"]

_ANSWERS = 200
_ITEMS = 200
"""Of a history: the newest answers, and the items in them that are looked up."""
_PROFILES, _PROFILE_S = 2048, 600.0
_KNOWN, _KNOWN_S = 4096, 300.0
"""Items whose facts are kept (some 8 KB each), and for how long a changed item may be seen as it was."""
_LEAST = 1e-6
_TEXT_MEDIA = -1
_WORTH_SAYING = 0.02
_NAMED = 2
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A candidate's score before personalisation, and what the profile said of it."""

    base: float
    features: Mapping[str, float] = field(default_factory=dict)


class Personaliser:
    """One per process. Profiles are kept for minutes; ``forget`` one when its user's feedback changes."""

    def __init__(
        self,
        feedback: FeedbackStore,
        items: ItemStore,
        store: VectorStore,
        embedding_version: str,
        strengths: Strengths,
        settings: PersonaliseSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._feedback = feedback
        self._items = items
        self._store = store
        self._version = embedding_version
        self._strengths = strengths
        self._settings = settings
        self._clock = clock
        self._profiles: TTLCache[str, Profile | None] = TTLCache(_PROFILES, _PROFILE_S)
        self._known: TTLCache[str, Facts] = TTLCache(_KNOWN, _KNOWN_S)
        self._changes = 0

    def forget(self, user: str) -> None:
        """Drops what is kept of ``user``; a profile that is being built meanwhile is not kept either."""
        self._changes += 1
        self._profiles.pop(user, None)

    async def personalise(
        self, candidates: list[Candidate], query: SearchQuery, trace: Trace, budget_s: float
    ) -> tuple[list[Candidate], Mapping[str, Standing]]:
        """Candidates by their new scores, and how the moved ones stood, by item id.

        What lies behind the pool keeps its place. Whatever fails leaves the order as it was, and ``trace``
        says so.
        """
        head, tail = candidates[: self._settings.pool], candidates[self._settings.pool :]
        try:
            async with asyncio.timeout(budget_s):
                profile = await self._profile(query.user, trace, budget_s)
                if not head or (profile is None and not self._strengths.pairs):
                    return candidates, {}
                facts: Mapping[str, Facts] = {}
                if profile is not None:
                    facts = await self._facts([each.item_id for each in head], trace, budget_s)
        except (SensoriumError, TimeoutError) as error:
            trace.degrade("personalise", reason(error))
            return candidates, {}
        found = [evidence(candidate) for candidate in head]
        said = [
            features(profile, facts.get(candidate.item_id, Facts()), shares) if profile else {}
            for candidate, shares in zip(head, found, strict=True)
        ]
        moved = self._moved(head, found, said)
        if profile is not None:
            moved = [_explain(each, profile, facts.get(each.item_id, Facts())) for each in moved]
        moved.sort(key=lambda candidate: (-candidate.score, candidate.item_id))
        standings = {c.item_id: Standing(c.score, what) for c, what in zip(head, said, strict=True)}
        return moved + tail, standings

    def _moved(
        self,
        head: Sequence[Candidate],
        found: Sequence[Mapping[str, float]],
        said: Sequence[Mapping[str, float]],
    ) -> list[Candidate]:
        strengths = self._strengths
        pulls = [
            sum(strengths.features[name] * value for name, value in what.items())
            + sum(strengths.pairs.get(pair, 0.0) * share for pair, share in shares.items())
            for what, shares in zip(said, found, strict=True)
        ]
        scores = move([candidate.score for candidate in head], pulls, self._settings.max_log_odds)
        return [
            candidate.scored(score, "personalise", "how it was found")
            for candidate, score in zip(head, scores, strict=True)
        ]

    # ---- what is known ----

    async def _profile(self, user: str, trace: Trace, budget_s: float) -> Profile | None:
        if user in self._profiles:
            return self._profiles[user]
        changes = self._changes
        history = await self._feedback.history(user, _ANSWERS)
        facts = await self._facts(looked_at(history)[:_ITEMS], trace, budget_s)
        profile = build_profile(
            history,
            facts,
            self._strengths.examined,
            self._clock(),
            self._settings.half_life_days * _DAY_S,
        )
        if changes == self._changes:
            self._profiles[user] = profile
        return profile

    async def _facts(self, ids: Sequence[str], trace: Trace, budget_s: float) -> dict[str, Facts]:
        """What is known of the items, kept for minutes; those that are gone are left out."""
        missing = [item_id for item_id in dict.fromkeys(ids) if item_id not in self._known]
        found = {item_id: self._known[item_id] for item_id in ids if item_id in self._known}
        if missing:
            read = await self._read_facts(missing, trace, budget_s)
            self._known.update(read)
            found |= read
        return found

    async def _read_facts(self, ids: Sequence[str], trace: Trace, budget_s: float) -> dict[str, Facts]:
        keys = {(item_id, m): row_key(item_id, m, *place) for item_id in ids for m, place in _ROWS.items()}
        stored: dict[str, tuple[str, tuple[str, ...]]] = {}
        vectors: dict[str, FloatArray] = {}

        async def read_items() -> None:
            items = await self._items.get_many(ids)
            stored.update({item.id: (item.category, item.tags) for item in items.values()})

        async def read_vectors() -> None:
            with trace.waiting("personalise", "milvus"):
                vectors.update(await self._store.vectors(list(keys.values()), self._version, budget_s))

        await together([read_items(), read_vectors()])
        return {
            item_id: Facts(
                *stored[item_id],
                {m: vectors[key] for m in _ROWS if (key := keys[item_id, m]) in vectors},
            )
            for item_id in ids
            if item_id in stored
        }


_ROWS = {Modality.TEXT: (_TEXT_MEDIA, 0), Modality.IMAGE: (0, 0)}
"""The rows that stand for an item (media, segment): its text, and its first file if that is a picture."""


def evidence(candidate: Candidate) -> dict[str, float]:
    """Through which pairs of modalities it was found, as shares that sum to 1; empty without any."""
    weights: dict[str, float] = {}
    for signal in candidate.signals:
        if signal.weight > 0:
            pair = pair_name(signal.query_modality, signal.item_modality, signal.space)
            weights[pair] = max(weights.get(pair, 0.0), signal.score * signal.weight)
    total = sum(weights.values())
    return {pair: weight / total for pair, weight in weights.items()} if total else {}


def move(scores: Sequence[float], pulls: Sequence[float], cap: float) -> list[float]:
    """Scores (0..1) moved by their pulls (log-odds) relative to the mean pull, each by less than ``cap``."""
    middle = sum(pulls) / len(pulls) if pulls else 0.0
    moved = []
    for score, pull in zip(scores, pulls, strict=True):
        kept = min(max(score, _LEAST), 1.0 - _LEAST)
        shift = cap * math.tanh((pull - middle) / cap)
        moved.append(1.0 / (1.0 + (1.0 - kept) / kept * math.exp(-shift)))
    return moved


def _explain(candidate: Candidate, profile: Profile, facts: Facts) -> Candidate:
    """The candidate with words for why it was moved."""
    *others, own = candidate.influences
    raised = own.change > 0
    sign = 1 if raised else -1
    words = []
    if sign * features(profile, facts, {})["taste"] > _WORTH_SAYING:
        words.append("like what you chose" if raised else "unlike what you chose")
    ratios = {facts.category: profile.category.get(facts.category, 0.0)}
    ratios |= {tag: profile.tags.get(tag, 0.0) for tag in facts.tags}
    strongest = sorted(ratios, key=lambda name: -sign * ratios[name])[:_NAMED]
    named = ", ".join(name for name in strongest if name and sign * ratios[name] > _WORTH_SAYING)
    if named:
        words.append(f"you choose {named} {'more' if raised else 'less'} than most")
    if not words:
        words.append("nearer to your choices than others" if raised else "others are nearer to your choices")
    return replace(candidate, influences=(*others, replace(own, detail="; ".join(words))))
