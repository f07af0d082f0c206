"""Triton and Milvus behind circuit breakers and retries: the same protocols, so the pipeline knows nothing
of it.

A breaker each for what Triton makes of a modality, for transcription, composing and re-ranking, and for every
space and modality that Milvus is searched for: what fails leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog

from orchestrator.breaker import Breaker, State
from orchestrator.metrics import Metrics
from orchestrator.ports import Encoder, VectorStore
from orchestrator.retry import Outcome, Retrier
from orchestrator.settings import Settings
from orchestrator.types import (
    NATIVE_DIM,
    AttendInputs,
    Embedding,
    FloatArray,
    Modality,
    RerankInputs,
    RowHit,
    Space,
    Transcript,
)

__all__ = ["GuardedEncoder", "GuardedStore", "Guards"]

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_LEVELS: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}

_PATIENCE_SHARE: Final = 0.3
"""Of its stage's budget: a call that was given up after as long has failed."""


class Guards:
    """The breakers of one dependency, by call, and its retries. ``budgets_s``: of the calls' stages."""

    def __init__(self, dependency: str, budgets_s: Mapping[str, float], settings: Settings) -> None:
        self._dependency = dependency
        self._metrics: Metrics | None = None
        self._breakers = {
            call: Breaker(
                dependency,
                call,
                settings.breaker,
                patience_s=min(settings.breaker.slow_s, _PATIENCE_SHARE * budget_s),
                listener=self._changed,
            )
            for call, budget_s in budgets_s.items()
        }
        self._retrier = Retrier(settings.retry, listener=self._retried)

    def count_in(self, metrics: Metrics) -> None:
        """Counts openings and retries in ``metrics`` from now on."""
        self._metrics = metrics
        for call in self._breakers:
            metrics.breaker_openings.labels(self._dependency, call)

    def show_in(self, metrics: Metrics, shown: Callable[[], Guards]) -> None:
        """Shows in ``metrics`` how the breakers of ``shown`` are, which may be others each time."""
        for call in self._breakers:
            level = partial(_level, shown, call)
            metrics.breaker_state.labels(self._dependency, call).set_function(level)

    def report_to(self, metrics: Metrics) -> None:
        """Shows the breakers in ``metrics`` from now on, and counts there."""
        self.count_in(metrics)
        self.show_in(metrics, lambda: self)

    def _changed(self, call: str, state: State) -> None:
        if state is State.HALF_OPEN:
            return
        log = _log.warning if state is State.OPEN else _log.info
        log("breaker", dependency=self._dependency, call=call, state=state.value)
        if state is State.OPEN and self._metrics is not None:
            self._metrics.breaker_openings.labels(self._dependency, call).inc()

    def _retried(self, outcome: Outcome) -> None:
        if self._metrics is not None:
            self._metrics.retries.labels(self._dependency, outcome).inc()

    async def once(self, call: str, attempt: Callable[[float], Awaitable[T]], deadline_s: float) -> T:
        """One try."""
        with self._breakers[call].guard(deadline_s) as left_s:
            return await attempt(left_s)

    async def read(self, call: str, attempt: Callable[[float], Awaitable[T]], deadline_s: float) -> T:
        """A read, which may be tried again."""
        return await self._retrier.run(lambda left_s: self.once(call, attempt, left_s), deadline_s)


class GuardedEncoder:
    """``encoder`` behind breakers. Embedding is tried again; what an answer can do without is not.

    Raises ``CircuitOpenError`` beside what ``Encoder`` does.
    """

    def __init__(self, encoder: Encoder, settings: Settings) -> None:
        budget = settings.budget
        self._encoder = encoder
        self.guards = Guards(
            "triton",
            {
                **{f"embed_{modality.value}": budget.embed_s for modality in Modality},
                "transcribe": budget.transcribe_s,
                "attend": budget.compose_s,
                "rerank": budget.rerank_s,
            },
            settings,
        )

    async def embed(self, modality: Modality, data: bytes | str, deadline_s: float) -> Embedding:
        return await self.guards.read(
            f"embed_{modality.value}",
            lambda left_s: self._encoder.embed(modality, data, left_s),
            deadline_s,
        )

    async def transcribe(self, data: bytes, phrases: Sequence[str], deadline_s: float) -> Transcript:
        return await self.guards.once(
            "transcribe", lambda left_s: self._encoder.transcribe(data, phrases, left_s), deadline_s
        )

    async def attend(self, inputs: AttendInputs, deadline_s: float) -> FloatArray:
        return await self.guards.once(
            "attend", lambda left_s: self._encoder.attend(inputs, left_s), deadline_s
        )

    async def rerank(self, inputs: RerankInputs, deadline_s: float) -> FloatArray:
        return await self.guards.once(
            "rerank", lambda left_s: self._encoder.rerank(inputs, left_s), deadline_s
        )

    async def ready(self) -> bool:
        return await self._encoder.ready()

    async def models(self) -> Mapping[str, str]:
        return await self._encoder.models()


class GuardedStore:
    """``store`` behind breakers; what it is asked is only read, so all of it is tried again.

    Raises ``CircuitOpenError`` beside what ``VectorStore`` does.
    """

    def __init__(self, store: VectorStore, settings: Settings) -> None:
        budget = settings.budget
        self._store = store
        self.guards = Guards(
            "milvus",
            {
                **{f"unified/{modality.value}": budget.retrieve_s for modality in Modality},
                **{f"{modality.value}/{modality.value}": budget.retrieve_s for modality in NATIVE_DIM},
                "vectors": budget.rerank_s,
            },
            settings,
        )

    async def search(
        self,
        space: Space,
        modality: Modality,
        vectors: FloatArray,
        limit: int,
        expression: str,
        embedding_version: str,
        deadline_s: float,
    ) -> list[list[RowHit]]:
        return await self.guards.read(
            f"{space}/{modality.value}",
            lambda left_s: self._store.search(
                space, modality, vectors, limit, expression, embedding_version, left_s
            ),
            deadline_s,
        )

    async def vectors(
        self, keys: Sequence[str], embedding_version: str, deadline_s: float
    ) -> Mapping[str, FloatArray]:
        return await self.guards.read(
            "vectors", lambda left_s: self._store.vectors(keys, embedding_version, left_s), deadline_s
        )

    async def ready(self) -> bool:
        return await self._store.ready()

    async def counts(self, embedding_version: str) -> Mapping[Modality, int]:
        return await self._store.counts(embedding_version)


def _level(shown: Callable[[], Guards], call: str) -> float:
    return _LEVELS[shown()._breakers[call].state]
