"""What became of each request while faults came and went, and the row of one fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["SUSTAINED_REQUESTS", "SUSTAINED_S", "Fate", "Seen", "Span", "recovered", "row"]

SUSTAINED_S = 4.0
SUSTAINED_REQUESTS = 8
"""Recovered is what has answered well for so long, and so many requests: nothing that was sent was bad."""


class Fate(StrEnum):
    """GOOD is a whole and right answer. DEGRADED says that it lacks something. WRONG says nothing and is not
    what it was before the faults. UNSENT is the client's own bound."""

    GOOD = "good"
    DEGRADED = "degraded"
    REJECTED = "rejected"
    FAILED = "failed"
    WRONG = "wrong"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Seen:
    """One search; times in seconds of one clock. `why` is a status, or the first note of what lacks."""

    modality: str
    sent_s: float
    done_s: float
    fate: Fate
    why: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """From when a fault began, to when its cause was taken away, to when it was no longer watched."""

    began_s: float
    ended_s: float
    watched_s: float


def recovered(seen: Iterable[Seen], since_s: float) -> bool:
    """Whether what was sent after `since_s` was good, for long enough, without an exception at the end."""
    sent = sorted((each for each in seen if each.sent_s >= since_s), key=lambda each: each.sent_s)
    good: list[Seen] = []
    for each in sent:
        good = [*good, each] if each.fate is Fate.GOOD else []
    return len(good) >= SUSTAINED_REQUESTS and good[-1].sent_s - good[0].sent_s >= SUSTAINED_S


def row(seen: Sequence[Seen], span: Span) -> dict[str, Any]:
    """Counts of what was under way at some time of the fault, and the times, in seconds.

    `detect_s`: from when it began to the first answer that was not good. `recover_s`: to when the first
    request was sent after which all were answered well; `recover_after_s` is the same from when the cause was
    gone. None where it never came to that.
    """
    touched = [each for each in seen if each.done_s >= span.began_s and each.sent_s <= span.watched_s]
    bad = [each for each in touched if each.fate is not Fate.GOOD]
    fates = Counter(each.fate for each in touched)
    back_s = _back_s(touched, bad)
    return {
        "requests": len(touched),
        **{fate.value: fates[fate] for fate in Fate},
        "why": dict(Counter(f"{each.modality}: {each.why}" for each in bad).most_common()),
        "detect_s": round(min(each.done_s for each in bad) - span.began_s, 2) if bad else None,
        "recover_s": None if back_s is None else round(max(back_s - span.began_s, 0.0), 2),
        "recover_after_s": None if back_s is None else round(max(back_s - span.ended_s, 0.0), 2),
        "longest_s": round(max((each.done_s - each.sent_s for each in touched), default=0.0), 2),
        "cause_s": round(span.ended_s - span.began_s, 2),
    }


def _back_s(touched: Sequence[Seen], bad: Sequence[Seen]) -> float | None:
    last_s = max((each.sent_s for each in bad), default=None)
    if last_s is None:
        return min((each.sent_s for each in touched), default=None)
    return min((each.sent_s for each in touched if each.sent_s > last_s), default=None)
