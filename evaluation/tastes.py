"""Simulated users with known tastes, what they ask for, and how they click.

Each user likes two values of one attribute of the generated catalogue (two colours, two materials, two
categories), or nothing in particular. They ask for things of one kind ("a mug") and want, of those, what they
like: an item has gain 3 when it is what was asked for and liked, 1 when it is only what was asked for, and 0
otherwise. A user without a taste gains 1 from everything that was asked for.

Clicks follow the position-based model (Richardson, Dominowska and Ragno, "Predicting clicks", WWW 2007):
an item is clicked when its place is looked at, with probability 1 / place^0.8, and it attracts, with a
probability that depends on its gain and is never 0 or 1. What was liked is dwelt on, now and then taken; what
was not asked for is now and then dismissed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catalogue.manifest import ManifestItem
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["KINDS", "Intent", "User", "gains", "intents", "reactions", "users"]

KINDS = ("colour", "material", "category", "none")
"""Which attribute a user's taste is about."""

LIKED, ASKED = 3, 1
_EXAMINATION = 0.8
_ATTRACTION = {LIKED: 0.75, ASKED: 0.15, 0: 0.03}
_INDIFFERENT = 0.4
"""The attraction of what was asked for, to a user without a taste."""
_TAKEN, _DISMISSED = 0.3, 0.2
_LIKES = 2


@dataclass(frozen=True)
class Intent:
    """Something to ask for: `attribute` has `value`; `text` says so."""

    attribute: str
    value: str
    text: str


@dataclass(frozen=True)
class User:
    """`likes` are values of the attribute `kind`; empty for kind "none"."""

    name: str
    kind: str
    likes: frozenset[str]

    def intents(self, known: Sequence[Intent]) -> list[Intent]:
        """What they ask for: never the attribute that their taste is about, which would leave no choice."""
        shapes = self.kind != "category"
        return [intent for intent in known if (intent.attribute == "shape") == shapes]


def intents(items: Sequence[ManifestItem]) -> list[Intent]:
    """Every shape, colour and material of the catalogue as something to ask for."""
    words = {"shape": "a {}", "colour": "something {}", "material": "something made of {}"}
    return [
        Intent(attribute, value, text.format(value))
        for attribute, text in words.items()
        for value in sorted({_value(item, attribute) for item in items})
    ]


def users(items: Sequence[ManifestItem], of_each: int, seed: int) -> list[User]:
    """`of_each` users of every kind; what they like is drawn."""
    random = np.random.default_rng([seed, 1])
    made = []
    for kind in KINDS:
        values = sorted({_value(item, kind) for item in items}) if kind != "none" else []
        for number in range(of_each):
            likes = list(random.choice(values, _LIKES, replace=False)) if values else []
            made.append(User(f"simulated-{seed}-{kind}-{number}", kind, frozenset(map(str, likes))))
    return made


def gains(user: User, intent: Intent, items: Sequence[ManifestItem]) -> dict[str, int]:
    """Item -> gain, of the items that were asked for."""
    return {
        item.id: LIKED if user.likes and _value(item, user.kind) in user.likes else ASKED
        for item in items
        if _value(item, intent.attribute) == intent.value
    }


def reactions(
    user: User,
    shown: Sequence[str],
    gain: Mapping[str, int],
    request_id: str,
    random: np.random.Generator,
) -> Iterator[pb.FeedbackEvent]:
    """What the user does with an answer, place by place."""
    for place, item_id in enumerate(shown, 1):
        looked, attracted, further = random.random(3)
        if looked >= place**-_EXAMINATION:
            continue
        worth = gain.get(item_id, 0)
        attraction = _INDIFFERENT if worth and not user.likes else _ATTRACTION[worth]
        happy = worth == LIKED or (worth > 0 and not user.likes)
        kinds = []
        if attracted < attraction:
            kinds += [pb.FeedbackEvent.CLICK, pb.FeedbackEvent.DWELL]
            if happy and further < _TAKEN:
                kinds.append(pb.FeedbackEvent.ADD)
        elif not worth and further < _DISMISSED:
            kinds.append(pb.FeedbackEvent.DISMISS)
        for kind in kinds:
            event = pb.FeedbackEvent(request_id=request_id, item_id=item_id, position=place, kind=kind)
            if kind == pb.FeedbackEvent.DWELL:
                event.dwell_ms = random.uniform(20_000, 120_000) if happy else random.uniform(1_000, 5_000)
            yield event


def _value(item: ManifestItem, attribute: str) -> str:
    return item.category if attribute == "category" else str(item.attributes[attribute])
