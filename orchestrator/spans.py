"""OpenTelemetry: one span per request and one per stage and wait, for the share of requests sampled.

A caller's W3C ``traceparent`` decides where there is one, else ``sample_ratio`` does. Spans carry names,
times, outcomes and counts: no content, no user, no item. A request that is not sampled makes no spans
of stages.

Finished spans wait in a bounded queue for a thread that exports them over OTLP/gRPC. What finds it full is
dropped; what the collector does not take within seconds is lost. Both are counted, and nothing else happens.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from orchestrator.settings import TracingSettings

__all__ = [
    "SPAN_OUTCOMES",
    "Origin",
    "RequestSpan",
    "SpanOutcome",
    "Tracing",
    "called_by",
    "outgoing",
    "trace_id",
]

SpanOutcome = Literal["exported", "failed", "dropped"]
SPAN_OUTCOMES: tuple[SpanOutcome, ...] = ("exported", "failed", "dropped")

_QUEUE = 4096
_BATCH = 512
_DELAY_MS = 1000
_EXPORT_S = 2.0
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_PROPAGATOR = TraceContextTextMapPropagator()
_PARENT = "traceparent"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a request's headers say of where it comes from."""

    traceparent: str = ""
    request_id: str = ""
    """The caller's own id, if it is a UUID: that form holds no words that could be content."""

    @classmethod
    def of(cls, traceparent: str | None, request_id: str | None) -> Origin:
        """From raw headers; what is not well formed counts as not there."""
        known = request_id if request_id and _UUID.fullmatch(request_id) else ""
        return cls(traceparent or "", known)


_caller: ContextVar[Origin] = ContextVar("caller", default=Origin())  # noqa: B039 (frozen)
_span: ContextVar[otel.Span] = ContextVar("span", default=otel.INVALID_SPAN)


def called_by(caller: Origin) -> None:
    """Tells what follows in this task who asked; each face calls it once per request."""
    _caller.set(caller)


def trace_id() -> str:
    """Of the sampled trace that this task works for, 32 hexadecimal digits, or ""."""
    context = _span.get().get_span_context()
    return otel.format_trace_id(context.trace_id) if context.trace_flags.sampled else ""


def outgoing() -> tuple[tuple[str, str], ...] | None:
    """gRPC metadata that makes a callee's spans children of this task's; None where nothing is sampled."""
    span = _span.get()
    if not span.get_span_context().trace_flags.sampled:
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, otel.set_span_in_context(span, Context()))
    return tuple(carrier.items())


class RequestSpan:
    """The span of one request."""

    def __init__(self, span: otel.Span, caller: Origin) -> None:
        self._span = span
        self.caller_request_id = caller.request_id
        context = span.get_span_context()
        self.trace_id = otel.format_trace_id(context.trace_id) if context.is_valid else ""

    def end(self, outcome: str, request_id: str) -> None:
        """``outcome`` is "ok" or the code of an error."""
        if not self._span.is_recording():
            return
        self._span.set_attribute("sensorium.request_id", request_id)
        self._span.set_attribute("sensorium.outcome", outcome)
        if outcome != "ok":
            self._span.set_status(otel.StatusCode.ERROR)
        self._span.end()


class Tracing:
    """One per process. Without an endpoint it makes no spans, but passes a caller's context on."""

    def __init__(self, settings: TracingSettings) -> None:
        self.listener: Callable[[SpanOutcome, int], None] = lambda _outcome, _spans: None
        self._provider: TracerProvider | None = None
        self._tracer: otel.Tracer | None = None
        if settings.endpoint is None:
            return
        # It logs every failure; the counter says the same.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=_EXPORT_S)
        self._provider = TracerProvider(
            ParentBased(TraceIdRatioBased(settings.sample_ratio)),
            Resource({"service.name": "sensorium-orchestrator", "service.version": version("sensorium")}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_Bounded(exporter, lambda *counts: self.listener(*counts)))
        self._tracer = self._provider.get_tracer("sensorium")

    def request(self, method: str) -> RequestSpan:
        """Begins the span of a request and makes it this task's.

        It stays so until the task ends: a stream's handler may be closed from another context, in which
        nothing could be put back.
        """
        caller = _caller.get()
        parent = Context()
        if caller.traceparent:
            parent = _PROPAGATOR.extract({_PARENT: caller.traceparent}, Context())
        if self._tracer is None:
            span = otel.get_current_span(parent)
        else:
            span = self._tracer.start_span(method, parent, otel.SpanKind.SERVER)
        _span.set(span)
        return RequestSpan(span, caller)

    def stages(self) -> Callable[[str], AbstractContextManager[None]] | None:
        """What times a stage of this task's request as a span; None where the request is not sampled."""
        return self._stage if self._tracer is not None and _span.get().is_recording() else None

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        assert self._tracer is not None
        server = name.partition("/")[2]
        span = self._tracer.start_span(
            name,
            otel.set_span_in_context(_span.get(), Context()),
            otel.SpanKind.CLIENT if server else otel.SpanKind.INTERNAL,
            {"peer.service": server} if server else None,
        )
        token = _span.set(span)
        try:
            yield
        except BaseException as error:
            # Its type alone: a message may quote content.
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(otel.StatusCode.ERROR)
            raise
        finally:
            _span.reset(token)
            span.end()

    def close(self) -> None:
        """Exports what waits, for seconds at most. Blocks: call it in a thread."""
        if self._provider is not None:
            self._provider.shutdown()


class _Bounded(SpanProcessor, SpanExporter):
    """A batch processor whose losses are counted: it stands before its queue and behind it."""

    def __init__(self, exporter: SpanExporter, count: Callable[[SpanOutcome, int], None]) -> None:
        self._exporter = exporter
        self._count = count
        self._lock = threading.Lock()
        self._waiting = 0
        self._ending = False
        self._batches = BatchSpanProcessor(
            self, max_queue_size=_QUEUE, schedule_delay_millis=_DELAY_MS, max_export_batch_size=_BATCH
        )

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            full = self._waiting >= _QUEUE
            self._waiting += not full
        if full:
            self._count("dropped", 1)
        else:
            self._batches.on_end(span)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        done = SpanExportResult.FAILURE
        try:
            done = self._exporter.export(spans)
        finally:
            with self._lock:
                self._waiting -= len(spans)
            self._count("exported" if done is SpanExportResult.SUCCESS else "failed", len(spans))
        return done

    def shutdown(self) -> None:
        # The batch processor ends its exporter, which is this object again, so the way back is its own.
        if self._ending:
            self._exporter.shutdown()
        else:
            self._ending = True
            self._batches.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)
