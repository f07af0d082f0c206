"""The calls of ``sensorium.v1.Sensorium`` on protobuf messages: what gRPC and REST both answer with.

It adds to the pipeline what every request needs: an id, counting, a log line, and a typed error for whatever
goes wrong. A face adds its transport only.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterator,
    Sequence,
)
from contextlib import aclosing, contextmanager
from functools import partial

import structlog

from orchestrator.access.caller import Caller
from orchestrator.access.control import AccessControl
from orchestrator.access.scopes import AUDITED, Scope
from orchestrator.common import Common
from orchestrator.errors import (
    ForbiddenError,
    InternalError,
    NotFoundError,
    OverloadedError,
    RequestError,
    SensoriumError,
    ShuttingDownError,
    TooLargeError,
)
from orchestrator.feedback import check_user
from orchestrator.feedback_wire import counts_message, erased_message, events_from_message
from orchestrator.gate import Outcome
from orchestrator.lineup import Served
from orchestrator.logs import describe
from orchestrator.metrics import Metrics
from orchestrator.pipeline import Pipeline
from orchestrator.ports import CatalogueWriter, VectorStore
from orchestrator.release_watch import ReleaseWatch
from orchestrator.settings import AccessSettings, TracingSettings
from orchestrator.spans import Tracing
from orchestrator.status import is_ready, status_message
from orchestrator.trace import Trace
from orchestrator.types import CatalogueItem, ItemDraft, Modality
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
_MAX_AUDITED_IDS = 20
_AUDITED_NOTES = ("outcomes", "deleted", "unknown", "requests", "events")
_ITEM_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_log = structlog.get_logger(__name__)


class Service:
    """One per process. ``stopping`` refuses what comes after it is set; what is under way goes on.

    Every call is made by a ``Caller``, whom a face gets from ``allow``.
    """

    def __init__(
        self,
        common: Common,
        served: Served,
        writer: CatalogueWriter,
        store: VectorStore,
        access: AccessControl | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.access = access or AccessControl(AccessSettings())
        self.metrics = Metrics()
        self._tracing = tracing or Tracing(TracingSettings())
        self._tracing.listener = self.metrics.observe_spans
        self.metrics.cache_bytes.set_function(lambda: common.cache.size_bytes)
        self._watch = ReleaseWatch(self.metrics, served)
        self.metrics.answer_cache_bytes.set_function(lambda: common.answers.size_bytes)
        common.gate.listener = self._admitted
        for modality in Modality:
            self.metrics.waiting.labels(modality.value).set_function(
                partial(common.gate.waiting_of, modality)
            )
        self.stopping = False
        self._pipeline = Pipeline(common)
        self._served = served
        self._writer = writer
        self._store = store
        self._items = common.items
        self._feedback = common.feedback

    def turned_away(self) -> None:
        """Counts a request that a face refused for want of room, before it knew what it asks."""
        self.metrics.requests.labels("unknown", OverloadedError.code).inc()

    def allow(self, call: str | None, credentials: Sequence[str]) -> Caller:
        """Who makes ``call``, before anything but its headers is read; see ``AccessControl``.

        Raises:
            UnauthenticatedError, ForbiddenError, RateLimitError: it is refused, which is counted.
        """
        try:
            return self.access.allow(call, credentials)
        except SensoriumError as error:
            self.metrics.requests.labels(call or "unknown", error.code).inc()
            raise

    async def search(
        self,
        request: pb.SearchRequest,
        timeout_s: float | None = None,
        release: str = "",
        *,
        caller: Caller,
    ) -> pb.SearchResponse:
        """``release`` is the one that is to answer, "" for whichever is due. Raises: SensoriumError."""
        request_id = uuid.uuid4().hex
        with self._request("Search", request_id, caller) as note:
            trace = Trace(self._tracing.stages())
            if release and Scope.ADMIN not in caller.scopes:
                raise ForbiddenError("to name the release that is to answer takes the scope admin")
            query = caller.asking(query_from_message(request, request_id))
            with self._served.holding(release, query.user, request_id) as (runtime, role):
                note["release"] = runtime.release
                with self._watch.searching(role, trace):
                    result = await self._pipeline.search(query, runtime, trace, timeout_s)
            self._watch.answered(role, trace, result)
            self.metrics.observe_search(query, result)
            note["modalities"] = [part.modality.value for part in result.parts]
            note["stages_ms"] = {stage.stage: round(stage.ms, 2) for stage in result.stages}
            if result.degraded:
                note["degraded"] = result.degraded
            response = response_message(result, request_id)
            caller.restrict(response)
            note["hits"], note["cached"] = len(response.hits), response.cached
            return response

    async def upsert(self, items: AsyncIterable[pb.Item], caller: Caller) -> AsyncGenerator[pb.UpsertResult]:
        """One result per item, in order. Raises: SensoriumError."""

        async def drafts() -> AsyncIterator[ItemDraft]:
            async for item in items:
                yield draft_from_message(item)

        counts: dict[str, int] = {}
        with self._request("Upsert", uuid.uuid4().hex, caller) as note:
            note["outcomes"] = counts
            async with aclosing(self._writer.upsert_many(drafts())) as outcomes:
                async for outcome in outcomes:
                    counts[outcome.outcome.value] = counts.get(outcome.outcome.value, 0) + 1
                    self.metrics.upserted.labels(outcome.outcome.value).inc()
                    yield upsert_message(outcome)

    async def upsert_one(self, item: pb.Item, caller: Caller) -> pb.UpsertResult:
        """Raises: SensoriumError, that of the item if it is refused."""

        async def one() -> AsyncIterator[ItemDraft]:
            yield draft_from_message(item)

        with self._request("Upsert", uuid.uuid4().hex, caller) as note:
            async with aclosing(self._writer.upsert_many(one())) as outcomes:
                outcome = await anext(outcomes)
            note["outcomes"] = {outcome.outcome.value: 1}
            self.metrics.upserted.labels(outcome.outcome.value).inc()
            if outcome.error is not None:
                raise outcome.error
            return upsert_message(outcome)

    async def delete(self, request: pb.DeleteRequest, caller: Caller) -> pb.DeleteResponse:
        """Raises: SensoriumError."""
        deleting = [each for each in request.ids[:_MAX_AUDITED_IDS] if _ITEM_ID.fullmatch(each)]
        with self._request("Delete", uuid.uuid4().hex, caller, items=deleting) as note:
            if not request.ids:
                raise RequestError("no ids to delete")
            if len(request.ids) > _MAX_DELETED_IDS:
                raise TooLargeError("too many ids at once", limit=f"max_ids={_MAX_DELETED_IDS}")
            deleted, unknown = await self._writer.delete(list(dict.fromkeys(request.ids)))
            note["deleted"], note["unknown"] = deleted, unknown
            return pb.DeleteResponse(deleted=deleted, unknown=unknown)

    async def get(self, request: pb.GetRequest, caller: Caller) -> pb.Item:
        """Raises: SensoriumError."""
        with self._request("Get", uuid.uuid4().hex, caller):
            return item_message(await self._stored(request.id, caller))

    async def item_with_media(self, item_id: str, caller: Caller) -> CatalogueItem:
        """The item as stored, for whoever serves its media. Raises: SensoriumError."""
        with self._request("GetMedia", uuid.uuid4().hex, caller):
            return await self._stored(item_id, caller)

    async def _stored(self, item_id: str, caller: Caller) -> CatalogueItem:
        item = (await self._items.get_many([item_id])).get(item_id)
        # One that may not be seen is not told from one that does not exist.
        if item is None or not caller.sees(item_message(item)):
            raise NotFoundError("there is no such item")
        return item

    async def feedback(self, request: pb.FeedbackRequest, caller: Caller) -> pb.FeedbackResponse:
        """Stores what a user did. Raises: SensoriumError."""
        with self._request("Feedback", uuid.uuid4().hex, caller) as note:
            user = caller.named(request.user)
            counts = await self._feedback.add(user, events_from_message(request))
            self._served.forget(user)
            note["stored"], note["known"], note["unknown"] = counts.stored, counts.known, counts.unknown
            return counts_message(counts)

    async def erase_user(self, request: pb.EraseUserRequest, caller: Caller) -> pb.EraseUserResponse:
        """Removes all that is stored of a user; of one who is unknown, nothing. Raises: SensoriumError."""
        with self._request("EraseUser", uuid.uuid4().hex, caller) as note:
            user = caller.named(request.user)
            check_user(user)
            erased = await self._feedback.erase(user)
            self._served.forget(user)
            note["requests"], note["events"] = erased.requests, erased.events
            return erased_message(erased)

    def _admitted(self, modality: Modality | None, waited_s: float, outcome: Outcome) -> None:
        self.metrics.observe_admission(modality.value if modality else "unknown", waited_s, outcome)

    async def status(self, caller: Caller) -> pb.Status:
        """What is running; see ``orchestrator.status``."""
        with self._request("GetStatus", uuid.uuid4().hex, caller):
            return await status_message(self._served, self._store, self._items, caller)

    async def ready(self) -> bool:
        """Whether a search would find everything it needs."""
        return not self.stopping and await is_ready(self._served, self._store)

    @contextmanager
    def _request(
        self, method: str, request_id: str, caller: Caller, **audited: object
    ) -> Iterator[dict[str, object]]:
        """Counts and logs one request; what goes wrong in it comes out as a ``SensoriumError``.

        One that writes or administers is in the audit, too, with what is noted of it and ``audited``.
        """
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
            if method in AUDITED and self.access.enabled:
                noted = {name: note[name] for name in _AUDITED_NOTES if name in note}
                self.access.audit.write(method, caller.id, outcome, request_id=request_id, **noted, **audited)
