"""The vocabulary of feedback: what was shown to a user, what they did with it, and who keeps that.

``FeedbackStore`` is what the pipeline and the service ask of the store; the real client and the shipped fake
satisfy it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from orchestrator.errors import RequestError

__all__ = [
    "FEATURES",
    "Erased",
    "Event",
    "EventCounts",
    "EventKind",
    "FeedbackStore",
    "History",
    "Impression",
    "Shown",
    "StoredEvent",
    "check_user",
]

FEATURES = ("taste", "category", "tags", "modality")
"""What a profile says of an item, in the order of every vector of strengths."""

_USER = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


class EventKind(StrEnum):
    """What a user can do with an item that was shown."""

    CLICK = "click"
    DWELL = "dwell"
    ADD = "add"
    DISMISS = "dismiss"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a user did. ``position`` counts from 1; 0 leaves it to what the store knows."""

    request_id: str
    item_id: str
    kind: EventKind
    position: int = 0
    dwell_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was stored, at ``at_s`` seconds of the epoch."""

    event: Event
    at_s: float


@dataclass(frozen=True, slots=True)
class Shown:
    """One item of an answer at ``position`` (from 1, offset included).

    ``base`` is its score before personalisation and ``score`` the one after. ``evidence`` says which pairs of
    modalities it was found through ("text->image"), as shares that sum to 1, and ``features`` what the user's
    profile said of it, by the names of ``FEATURES``; empty without a profile.
    """

    item_id: str
    position: int
    score: float
    base: float
    evidence: Mapping[str, float] = field(default_factory=dict)
    features: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Impression:
    """One answer as it was shown to a user, asked at ``at_s`` seconds of the epoch.

    ``query`` is a hash of the embeddings of the query's parts: equal queries can be told, none can be read.
    """

    request_id: str
    user: str
    at_s: float
    query: str
    shown: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What is stored of one user, newest first."""

    impressions: tuple[Impression, ...] = ()
    events: tuple[StoredEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class EventCounts:
    """What became of events: ``unknown`` ones are about nothing that was shown to that user."""

    stored: int = 0
    known: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Erased:
    """How much was forgotten."""

    requests: int = 0
    events: int = 0


class FeedbackStore(Protocol):
    """What was shown and what was done with it, by user. Raises ``errors.DependencyError``."""

    async def record(self, impression: Impression) -> None:
        """Keeps an answer, unless its user was erased after they asked."""
        ...

    async def add(self, user: str, events: Sequence[Event]) -> EventCounts:
        """Stores events about what was shown to ``user``; one that is known already changes nothing.

        Of two dwells with the same item of the same answer the longer one stays.
        """
        ...

    async def history(self, user: str, limit: int) -> History:
        """The newest ``limit`` answers that ``user`` was shown, and what they did with those."""
        ...

    async def erase(self, user: str) -> Erased:
        """Removes everything of ``user``, from the disk too."""
        ...


def check_user(user: str) -> None:
    """Raises ``RequestError`` unless ``user`` can name one."""
    if not _USER.fullmatch(user):
        raise RequestError("user is not 1 to 128 characters of [A-Za-z0-9._:@-]", limit="max_characters=128")
