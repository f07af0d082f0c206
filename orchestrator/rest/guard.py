"""What every HTTP request passes before any route sees it: pure ASGI, nothing buffered.

- The ``Host`` header must name this server. A page elsewhere can point its own name at 127.0.0.1 (DNS
  rebinding); its requests then carry that name.
- A request that would change something or cost something must not come from another site: browsers say so
  in ``Sec-Fetch-Site``, and other clients do not send it.
- No more are under way at once than may be; how the server is, it says at any time.
- A body is counted while it comes in, and refused at the first byte too many, whatever its declared length.
- Who asks, by its `traceparent` and `x-request-id`, is noted for the log and the spans.
- Every answer forbids sniffing, framing and referrers, and by default may load nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.errors import RequestError, SensoriumError, TooLargeError
from orchestrator.rest.answers import error_response
from orchestrator.spans import Origin, called_by
from orchestrator.under_way import UnderWay

__all__ = ["Guard"]

_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_ALWAYS = frozenset({"/healthz", "/readyz", "/metrics"})

_DRAINED = 4
"""Up to so many times the allowed size, the rest of a declared body is let in and dropped."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, *, allowed_hosts: Collection[str], max_body_bytes: int, under_way: UnderWay
    ) -> None:
        self._app = app
        self._under_way = under_way
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # neither lifespan nor web sockets are served
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                if message["status"] == TooLargeError.http_status and not self._drainable(scope):
                    headers["connection"] = "close"
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
            headers = Headers(scope=scope)
            called_by(Origin.of(headers.get("traceparent"), headers.get("x-request-id")))
            if scope["path"] in _ALWAYS:
                await self._app(scope, receive, guarded_send)
                return
            self._under_way.enter()
            try:
                await self._app(scope, self._counted(receive), guarded_send)
            finally:
                self._under_way.leave()
        except SensoriumError as error:
            if started:
                raise
            await error_response(error)(scope, receive, guarded_send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if name not in self._hosts and f"[{name}]" not in self._hosts:
            raise RequestError("the Host header does not name this server")
        if scope["method"] not in ("GET", "HEAD") and headers.get("sec-fetch-site") in (
            "cross-site",
            "same-site",
        ):
            raise RequestError("requests from pages of other sites are not taken")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body_bytes:
            raise self._too_large()

    def _drainable(self, scope: Scope) -> bool:
        """Whether the rest of a body that is too large may be read and dropped, which takes no memory.

        A client that is cut off while it sends never sees the answer; one that sends for ever must be.
        """
        length = Headers(scope=scope).get("content-length", "")
        return length.isdecimal() and int(length) <= _DRAINED * self._max_body_bytes

    def _counted(self, receive: Receive) -> Receive:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> TooLargeError:
        return TooLargeError("the request is too large", limit=f"max_request_bytes={self._max_body_bytes}")
