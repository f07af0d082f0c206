"""The gRPC face: ``sensorium.v1.Sensorium`` with health and reflection, on ``grpc.aio``.

gRPC itself cancels a handler, and with it its work, once the caller is gone or the deadline has passed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, NoReturn, TypeAlias, cast
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from orchestrator.access.caller import Caller
from orchestrator.access.scopes import GRPC_CALLS
from orchestrator.errors import CircuitOpenError, ConfigurationError, OverloadedError, SensoriumError
from orchestrator.service import Service
from orchestrator.settings import ApiSettings
from orchestrator.spans import Origin, called_by
from orchestrator.tls import Tls
from orchestrator.under_way import UnderWay
from orchestrator.wire import error_message
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["ERROR_METADATA_KEY", "RELEASE_METADATA_KEY", "RETRY_AFTER_METADATA_KEY", "GrpcServer"]

ERROR_METADATA_KEY = "sensorium-error-bin"
RETRY_AFTER_METADATA_KEY = "retry-after-ms"
RELEASE_METADATA_KEY = "x-sensorium-release"
"""Sent with a search, it names the release that is to answer."""
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_caller: ContextVar[Caller] = ContextVar("caller")
_METADATA_BYTES = 16 << 10
_HEALTH = ("Probe", "WatchHealth")
"""How the server is, it says at any time."""
_NAME = pb.DESCRIPTOR.services_by_name["Sensorium"].full_name


class GrpcServer:
    """``start``, then ``stop`` with time to drain."""

    def __init__(self, service: Service, settings: ApiSettings, tls: Tls | None = None) -> None:
        self._server = grpc.aio.server(
            interceptors=[_Callers(), _Admission(service, settings.max_requests)],
            maximum_concurrent_rpcs=settings.max_connections,
            options=[
                ("grpc.max_receive_message_length", settings.max_request_bytes),
                ("grpc.max_send_message_length", settings.max_request_bytes),
                # From this size on grpc turns calls away at random: by default 8 KiB, a whole credential
                ("grpc.max_metadata_size", _METADATA_BYTES),
                # Without it a second server on the port would silently share its calls.
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = health.aio.HealthServicer()
        rpc.add_SensoriumServicer_to_server(_Servicer(service), self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        try:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            address = f"{host}:{settings.grpc_port}"
            self.port = (
                self._server.add_insecure_port(address)
                if tls is None
                else self._server.add_secure_port(address, tls.grpc_credentials())
            )
        except RuntimeError as error:  # grpc's only way to say that the address cannot be bound
            raise ConfigurationError(
                f"port {settings.grpc_port} of {settings.host} cannot be used"
            ) from error

    async def start(self) -> None:
        """Listens; health says SERVING."""
        await self._server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, drain_s: float) -> None:
        """Takes no new call, gives those under way ``drain_s`` seconds, then cancels them."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(drain_s)

    async def _set_health(self, status: int) -> None:
        for name in ("", _NAME):
            await self._health.set(name, status)


class _Callers(grpc.aio.ServerInterceptor):
    """Reads who asks; grpc.aio runs a call's handler in the task that the interceptor ran in."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        sent = {str(key): str(value) for key, value in handler_call_details.invocation_metadata or ()}
        called_by(Origin.of(sent.get("traceparent"), sent.get("x-request-id")))
        return await continuation(handler_call_details)


class _Servicer(rpc.SensoriumServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def Search(  # noqa: N802
        self, request: pb.SearchRequest, context: _Context
    ) -> pb.SearchResponse:
        try:
            release, caller = _release(context), _caller.get()
            return await self._service.search(request, context.time_remaining(), release, caller=caller)
        except SensoriumError as error:
            await _abort(context, error)

    async def Upsert(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.Item], context: _Context
    ) -> AsyncGenerator[pb.UpsertResult]:
        try:
            async with aclosing(self._service.upsert(request_iterator, _caller.get())) as results:
                async for result in results:
                    yield result
        except SensoriumError as error:
            await _abort(context, error)

    async def Delete(  # noqa: N802
        self, request: pb.DeleteRequest, context: _Context
    ) -> pb.DeleteResponse:
        try:
            return await self._service.delete(request, _caller.get())
        except SensoriumError as error:
            await _abort(context, error)

    async def Get(  # noqa: N802
        self, request: pb.GetRequest, context: _Context
    ) -> pb.Item:
        try:
            return await self._service.get(request, _caller.get())
        except SensoriumError as error:
            await _abort(context, error)

    async def Feedback(  # noqa: N802
        self, request: pb.FeedbackRequest, context: _Context
    ) -> pb.FeedbackResponse:
        try:
            return await self._service.feedback(request, _caller.get())
        except SensoriumError as error:
            await _abort(context, error)

    async def EraseUser(  # noqa: N802
        self, request: pb.EraseUserRequest, context: _Context
    ) -> pb.EraseUserResponse:
        try:
            return await self._service.erase_user(request, _caller.get())
        except SensoriumError as error:
            await _abort(context, error)

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: _Context
    ) -> pb.Status:
        try:
            return await self._service.status(_caller.get())
        except SensoriumError as error:
            await _abort(context, error)


def _release(context: _Context) -> str:
    found = dict(context.invocation_metadata() or ()).get(RELEASE_METADATA_KEY, "")
    return found if isinstance(found, str) else ""


class _Admission(grpc.aio.ServerInterceptor):
    """Lets a call in, or refuses it before its message is read."""

    def __init__(self, service: Service, max_requests: int) -> None:
        self._service = service
        self._under_way = UnderWay(max_requests, service.turned_away)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        call = GRPC_CALLS.get(handler_call_details.method)
        credentials = [
            value if isinstance(value, str) else value.decode("latin-1")
            for name, value in handler_call_details.invocation_metadata or ()
            if name == "authorization"
        ]
        try:
            if call not in _HEALTH:
                self._under_way.enter()
                # gRPC runs the handler in the task, and the context, that its interceptors ran in.
                cast("asyncio.Task[Any]", asyncio.current_task()).add_done_callback(self._leave)
            caller = self._service.allow(call, credentials)
        except SensoriumError as error:
            return _refusing(self._service, call, error)
        _caller.set(caller)
        return await continuation(handler_call_details)

    def _leave(self, _ended: asyncio.Task[Any]) -> None:
        self._under_way.leave()


def _refusing(service: Service, call: str | None, error: SensoriumError) -> _Handler:
    """A handler that ends the call. As one of streams it is run without a message having come in."""

    async def refuse(_requests: AsyncIterator[bytes], context: _Context) -> None:
        # "ipv4:127.0.0.1:4711", "ipv6:%5B::1%5D:4711"
        _, _, place = unquote(context.peer()).partition(":")
        address = place.rpartition(":")[0].strip("[]")
        await _abort(context, service.access.refusal(call, error, address))

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _abort(context: _Context, error: SensoriumError) -> NoReturn:
    """Ends the call with the error's status, and the error itself in the trailing metadata."""
    metadata: tuple[tuple[str, str | bytes], ...] = (
        (ERROR_METADATA_KEY, error_message(error).SerializeToString()),
    )
    if isinstance(error, OverloadedError | CircuitOpenError):
        metadata += ((RETRY_AFTER_METADATA_KEY, str(math.ceil(error.retry_after_s * 1000))),)
    await context.abort(error.grpc_status, error.message, metadata)
