"""The calls of ``sensorium.v1.Sensorium`` on protobuf messages: what gRPC and REST both answer with.

It adds to the pipeline what every request needs: an id, counting, a log line, and a typed error for whatever
goes wrong. A face adds its transport only.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, contextmanager
from functools import partial
from importlib.metadata import version
from typing import TypeVar

import structlog

from orchestrator.errors import (
    InternalError,
    NotFoundError,
    RequestError,
    SensoriumError,
    ShuttingDownError,
    TooLargeError,
)
from orchestrator.feedback import FeedbackStore, check_user
from orchestrator.feedback_wire import counts_message, erased_message, events_from_message
from orchestrator.gate import Outcome
from orchestrator.logs import describe
from orchestrator.metrics import Metrics
from orchestrator.personalise import Personaliser
from orchestrator.pipeline import Pipeline
from orchestrator.settings import TracingSettings
from orchestrator.spans import Tracing
from orchestrator.trace import Trace
from orchestrator.types import (
    CatalogueItem,
    CatalogueWriter,
    Encoder,
    ItemDraft,
    ItemStore,
    Modality,
    VectorStore,
)
from orchestrator.wire import (
    draft_from_message,
    item_message,
    query_from_message,
    response_message,
    upsert_message,
)
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["Service"]

_MAX_DELETED_IDS = 10_000
_STATUS_S = 3.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Service:
    """One per process. ``stopping`` refuses what comes after it is set; what is under way goes on."""

    def __init__(
        self,
        pipeline: Pipeline,
        writer: CatalogueWriter,
        encoder: Encoder,
        store: VectorStore,
        items: ItemStore,
        feedback: FeedbackStore,
        personaliser: Personaliser | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.metrics = Metrics()
        self._tracing = tracing or Tracing(TracingSettings())
        self._tracing.listener = self.metrics.observe_spans
        self.metrics.cache_bytes.set_function(lambda: pipeline.cache.size_bytes)
        served = pipeline.embedding_set
        self.metrics.quality.embedding_set.labels(served.profile, served.version).set(1)
        self.metrics.answer_cache_bytes.set_function(lambda: pipeline.answers.size_bytes)
        pipeline.gate.listener = self._admitted
        for modality in Modality:
            self.metrics.waiting.labels(modality.value).set_function(
                partial(pipeline.gate.waiting_of, modality)
            )
        self.stopping = False
        self._pipeline = pipeline
        self._writer = writer
        self._encoder = encoder
        self._store = store
        self._items = items
        self._feedback = feedback
        self._personaliser = personaliser

    async def search(self, request: pb.SearchRequest, timeout_s: float | None = None) -> pb.SearchResponse:
        """Raises: SensoriumError."""
        request_id = uuid.uuid4().hex
        with self._request("Search", request_id) as note:
            trace = Trace(self._tracing.stages())
            query = query_from_message(request, request_id)
            result = await self._pipeline.search(query, trace, timeout_s)
            self.metrics.observe_search(query, result)
            note["modalities"] = [part.modality.value for part in result.parts]
            note["stages_ms"] = {stage.stage: round(stage.ms, 2) for stage in result.stages}
            if result.degraded:
                note["degraded"] = result.degraded
            response = response_message(result, request_id)
            note["hits"], note["cached"] = len(response.hits), response.cached
            return response

    async def upsert(self, items: AsyncIterable[pb.Item]) -> AsyncGenerator[pb.UpsertResult]:
        """One result per item, in order. Raises: SensoriumError."""

        async def drafts() -> AsyncIterator[ItemDraft]:
            async for item in items:
                yield draft_from_message(item)

        counts: dict[str, int] = {}
        with self._request("Upsert", uuid.uuid4().hex) as note:
            note["outcomes"] = counts
            async with aclosing(self._writer.upsert_many(drafts())) as outcomes:
                async for outcome in outcomes:
                    counts[outcome.outcome.value] = counts.get(outcome.outcome.value, 0) + 1
                    self.metrics.upserted.labels(outcome.outcome.value).inc()
                    yield upsert_message(outcome)

    async def upsert_one(self, item: pb.Item) -> pb.UpsertResult:
        """Raises: SensoriumError, that of the item if it is refused."""

        async def one() -> AsyncIterator[ItemDraft]:
            yield draft_from_message(item)

        with self._request("Upsert", uuid.uuid4().hex):
            async with aclosing(self._writer.upsert_many(one())) as outcomes:
                outcome = await anext(outcomes)
            self.metrics.upserted.labels(outcome.outcome.value).inc()
            if outcome.error is not None:
                raise outcome.error
            return upsert_message(outcome)

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Raises: SensoriumError."""
        with self._request("Delete", uuid.uuid4().hex) as note:
            if not request.ids:
                raise RequestError("no ids to delete")
            if len(request.ids) > _MAX_DELETED_IDS:
                raise TooLargeError("too many ids at once", limit=f"max_ids={_MAX_DELETED_IDS}")
            deleted, unknown = await self._writer.delete(list(dict.fromkeys(request.ids)))
            note["deleted"], note["unknown"] = deleted, unknown
            return pb.DeleteResponse(deleted=deleted, unknown=unknown)

    async def get(self, request: pb.GetRequest) -> pb.Item:
        """Raises: SensoriumError."""
        with self._request("Get", uuid.uuid4().hex):
            return item_message(await self._stored(request.id))

    async def item_with_media(self, item_id: str) -> CatalogueItem:
        """The item as stored, for whoever serves its media. Raises: SensoriumError."""
        with self._request("GetMedia", uuid.uuid4().hex):
            return await self._stored(item_id)

    async def _stored(self, item_id: str) -> CatalogueItem:
        found = await self._items.get_many([item_id])
        if item_id not in found:
            raise NotFoundError("there is no such item")
        return found[item_id]

    async def feedback(self, request: pb.FeedbackRequest) -> pb.FeedbackResponse:
        """Stores what a user did. Raises: SensoriumError."""
        with self._request("Feedback", uuid.uuid4().hex) as note:
            counts = await self._feedback.add(request.user, events_from_message(request))
            self._forget(request.user)
            note["stored"], note["known"], note["unknown"] = counts.stored, counts.known, counts.unknown
            return counts_message(counts)

    async def erase_user(self, request: pb.EraseUserRequest) -> pb.EraseUserResponse:
        """Removes all that is stored of a user; of one who is unknown, nothing. Raises: SensoriumError."""
        with self._request("EraseUser", uuid.uuid4().hex):
            check_user(request.user)
            erased = await self._feedback.erase(request.user)
            self._forget(request.user)
            return erased_message(erased)

    def _admitted(self, modality: Modality | None, waited_s: float, outcome: Outcome) -> None:
        self.metrics.observe_admission(modality.value if modality else "unknown", waited_s, outcome)

    def _forget(self, user: str) -> None:
        if self._personaliser is not None:
            self._personaliser.forget(user)

    async def status(self) -> pb.Status:
        """What is running. A dependency that does not answer is said to be so; nothing is raised for it."""
        with self._request("GetStatus", uuid.uuid4().hex):
            no_rows: Mapping[Modality, int] = {}
            no_models: Mapping[str, str] = {}
            triton, milvus, items, rows, models = await asyncio.gather(
                _within(self._encoder.ready, False),
                _within(self._store.ready, False),
                _within(self._items.count, None),
                _within(self._store.counts, no_rows),
                _within(self._encoder.models, no_models),
            )
            precision = self._pipeline.embedding_set.precision
            states = {"triton": triton, "milvus": milvus, "items": items is not None}
            return pb.Status(
                version=version("sensorium"),
                profile=self._pipeline.embedding_set.profile,
                embedding_version=self._pipeline.embedding_set.version,
                items=items or 0,
                rows={modality.value: count for modality, count in rows.items()},
                dependencies={name: "ready" if ok else "unavailable" for name, ok in states.items()},
                models={
                    # An ensemble, and what runs its steps in one process, has the precision of its encoder.
                    name: f"{number} {precision.get(name.replace('embed_', 'encode_'), '')}".rstrip()
                    for name, number in models.items()
                },
            )

    async def ready(self) -> bool:
        """Whether a search would find everything it needs."""
        if self.stopping:
            return False
        return all(
            await asyncio.gather(_within(self._encoder.ready, False), _within(self._store.ready, False))
        )

    @contextmanager
    def _request(self, method: str, request_id: str) -> Iterator[dict[str, object]]:
        """Counts and logs one request; what goes wrong in it comes out as a ``SensoriumError``."""
        start_s = time.perf_counter()
        span = self._tracing.request(method)
        note: dict[str, object] = {}
        outcome = "cancelled"
        in_flight = self.metrics.in_flight.labels(method)
        in_flight.inc()
        try:
            if self.stopping:
                raise ShuttingDownError("the server is stopping")
            yield note
            outcome = "ok"
        except SensoriumError as error:
            outcome = error.code
            note["part"] = error.part
            if error.http_status >= 500:
                note.update(describe(error))
            raise
        except Exception as error:
            outcome = InternalError.code
            note.update(describe(error))
            raise InternalError(f"an internal error; the log knows it as {request_id}") from error
        finally:
            in_flight.dec()
            span.end(outcome, request_id)
            if span.trace_id:
                note["trace_id"] = span.trace_id
            if span.caller_request_id:
                note["caller_request_id"] = span.caller_request_id
            self.metrics.requests.labels(method, outcome).inc()
            _log.info(
                "request",
                method=method,
                request_id=request_id,
                outcome=outcome,
                ms=round((time.perf_counter() - start_s) * 1000, 2),
                **note,
            )


async def _within(call: Callable[[], Awaitable[T]], otherwise: T) -> T:
    try:
        async with asyncio.timeout(_STATUS_S):
            return await call()
    except (SensoriumError, TimeoutError):
        return otherwise
