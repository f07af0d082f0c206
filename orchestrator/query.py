"""A query on its way through the stages, and its answer: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Self

from orchestrator.types import CatalogueItem, Modality, RowHit

__all__ = [
    "Candidate",
    "Hit",
    "Influence",
    "Moment",
    "PartInfo",
    "Priority",
    "QueryPart",
    "SearchOptions",
    "SearchQuery",
    "SearchResult",
    "Signal",
    "SignalSpace",
    "StageTime",
]

SignalSpace = Literal["unified", "audio", "video", "transcript"]
"""Where a signal comes from: a vector space, or the unified space reached through a transcript."""


class Priority(StrEnum):
    """Who goes first when requests wait: somebody who looks at a screen, or a program that can wait."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class QueryPart:
    """One part of a query as it came in. A negative ``weight`` pushes away."""

    content: str | bytes
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Stages that a request asks for (True) or forgoes (False); None leaves it to the server."""

    rerank: bool | None = None
    expand: bool | None = None
    multi_hop: bool | None = None
    personalise: bool | None = None
    attend: bool | None = None
    cross_attention: bool | None = None
    cache: bool | None = None


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A validated request.

    ``expression`` is a compiled filter (see ``filters.py``), "" for none; ``user`` is opaque, "" for nobody.
    ``request_id`` is the name that feedback gives the answer. ``caller`` names the credential,
    ``permission`` is what that restricts every search to; ``expression`` holds it already.
    """

    parts: tuple[QueryPart, ...]
    expression: str = ""
    targets: tuple[Modality, ...] = tuple(Modality)
    limit: int = 10
    offset: int = 0
    min_score: float = 0.0
    mmr_lambda: float | None = None
    user: str = ""
    options: SearchOptions = SearchOptions()
    request_id: str = ""
    priority: Priority = Priority.INTERACTIVE
    caller: str = ""
    permission: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """One reason why an item was found: part ``part`` of the query against one of its rows.

    ``similarity`` is raw, ``score`` calibrated to 0..1, ``weight`` (signed) what it counts for in fusion.
    """

    part: int
    query_modality: Modality
    item_modality: Modality
    space: SignalSpace
    similarity: float
    score: float
    weight: float
    row: RowHit


@dataclass(frozen=True, slots=True)
class Influence:
    """What a stage beside or behind fusion did to a score, and why, in words for people."""

    stage: str
    detail: str
    change: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item with its score (0..1), every signal behind it, strongest first, and what changed it since."""

    item_id: str
    score: float
    signals: tuple[Signal, ...]
    influences: tuple[Influence, ...] = ()

    def scored(self, score: float, stage: str, detail: str) -> Self:
        """With the ``score`` that ``stage`` gives it, and its influence."""
        influence = Influence(stage, detail, score - self.score)
        return replace(self, score=score, influences=(*self.influences, influence))

    def moved(self, score: float, stage: str, why: str, old: int, new: int) -> Self:
        """Like ``scored``, of a stage that puts it from place ``old`` to ``new``, counted from 0."""
        where = f"stays at place {new + 1}" if old == new else f"moves from place {old + 1} to {new + 1}"
        return self.scored(score, stage, f"{why}, it {where}")


@dataclass(frozen=True, slots=True)
class Moment:
    """The best matching stretch of a sound or a video, in seconds."""

    modality: Modality
    media_index: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class StageTime:
    """Wall time of a stage.

    A name with a slash ("embed/triton") is the share of it spent waiting for that server.
    """

    stage: str
    ms: float


@dataclass(frozen=True, slots=True)
class PartInfo:
    """What a part was taken for."""

    modality: Modality
    format: str
    transcript: str = ""
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer."""

    item: CatalogueItem
    score: float
    signals: tuple[Signal, ...]
    moment: Moment | None
    influences: tuple[Influence, ...] = ()


ReleaseRole = Literal["current", "canary", "other"]
"""How a release came to answer a query: as everybody's, as the canary, or because it was named."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to a query.

    ``degraded`` holds "stage: reason" for every stage that failed or was cut short. ``kept`` is the answer as
    the cache has it (``wire.kept_answer``), b"" if it has none; with ``cached`` it comes from there, and
    stands in the place of ``hits``.
    """

    hits: tuple[Hit, ...]
    candidates: int
    parts: tuple[PartInfo, ...]
    stages: tuple[StageTime, ...]
    total_ms: float
    degraded: tuple[str, ...]
    embedding_version: str
    release: str = ""
    kept: bytes = b""
    cached: bool = False
