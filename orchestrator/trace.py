"""What one request costs, stage by stage, and what it had to do without.

Stages may overlap (a transcript is made while the sound is embedded), so their times may add up to more than
the whole. A *wait* is the time within a stage during which at least one call to a server was open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from orchestrator.errors import DependencyError, SensoriumError
from orchestrator.query import StageTime

__all__ = ["STAGES", "Trace", "reason"]

STAGES = (
    "admit",
    "classify",
    "cache",
    "embed",
    "transcribe",
    "compose",
    "retrieve",
    "route",
    "fuse",
    "hop",
    "expand",
    "cross_attention",
    "rerank",
    "personalise",
    "diversify",
    "answer",
    "record",
)


class Trace:
    """The stopwatch of one request. Not shared between requests; used on the event loop only.

    ``spans`` is entered beside each block with the name of its stage: the same blocks make the times and the
    spans of a sampled request.
    """

    def __init__(self, spans: Callable[[str], AbstractContextManager[None]] | None = None) -> None:
        self._spans = spans
        self._start_s = time.perf_counter()
        self._times_s: dict[str, float] = {}
        self._open: dict[str, tuple[int, float]] = {}
        self.degraded: list[str] = []
        self.modality = "unknown"
        """Of the query, as metrics call it, once it is classified."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block as (part of) stage ``name``; blocks of one name that overlap count once."""
        calls, start_s = self._open.get(name, (0, 0.0))
        self._open[name] = (calls + 1, start_s if calls else time.perf_counter())
        try:
            with nullcontext() if self._spans is None else self._spans(name):
                yield
        finally:
            calls, start_s = self._open[name]
            self._open[name] = (calls - 1, start_s)
            if calls == 1:
                self._times_s[name] = self._times_s.get(name, 0.0) + time.perf_counter() - start_s

    def waiting(self, stage: str, server: str) -> AbstractContextManager[None]:
        """Times the block as waiting for ``server`` within ``stage``."""
        return self.stage(f"{stage}/{server}")

    def took(self, stage: str, seconds: float) -> None:
        """Notes the time of a stage of which only its end tells that it was one."""
        self._times_s[stage] = seconds

    def degrade(self, stage: str, what: str) -> None:
        """Notes that the answer lacks something; the same note is kept once."""
        note = f"{stage}: {what}"
        if note not in self.degraded:
            self.degraded.append(note)

    def stages(self) -> tuple[StageTime, ...]:
        """Times so far, in the order of the pipeline, each stage followed by its waits."""
        order = {stage: place for place, stage in enumerate(STAGES)}
        names = sorted(self._times_s, key=lambda name: (order[name.split("/")[0]], name))
        return tuple(StageTime(name, self._times_s[name] * 1000) for name in names)

    @property
    def total_ms(self) -> float:
        """Milliseconds since the request came in."""
        return (time.perf_counter() - self._start_s) * 1000


def reason(error: BaseException) -> str:
    """Why a stage failed, in a word or two that callers can rely on: "deadline", "triton unavailable"."""
    if isinstance(error, TimeoutError):
        return "deadline"
    if isinstance(error, DependencyError):
        what = error.code.rpartition(".")[2]
        return what if what == "deadline" else f"{error.dependency} {what}"
    if isinstance(error, SensoriumError):
        return error.code
    return "failed"
