"""What became of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from loadtests.arrivals import Arrival

__all__ = ["Answer", "Outcome", "Sample"]


class Outcome(StrEnum):
    """`rejected` is the server's word that it is full; `unsent` is the client's own bound."""

    ANSWERED = "answered"
    REJECTED = "rejected"
    FAILED = "failed"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status as the protocol names it, and of an answer what it says of itself.

    `cached` is one that was kept whole; its parts say that their embeddings were cached, too.
    """

    outcome: Outcome
    code: str
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()
    cached: bool = False
    cached_embeddings: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Times are in seconds since its first phase began; what was not sent has none."""

    arrival: Arrival
    answer: Answer
    sent_s: float
    done_s: float

    @property
    def latency_ms(self) -> float:
        """From when it was due, so that a late start counts against whoever caused it."""
        return (self.done_s - self.arrival.due_s) * 1000

    @property
    def service_ms(self) -> float:
        """From when it was sent."""
        return (self.done_s - self.sent_s) * 1000
