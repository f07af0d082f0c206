"""One search over gRPC or REST. A call gives an `Answer` whatever happens, and soon after its deadline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import gevent
import grpc
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError

from loadtests.errors import SettingsError, UnreachableError
from loadtests.samples import Answer, Outcome
from sensorium import connect
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["Calls", "GrpcCalls", "RestCalls"]

LIMIT = 10
"""Hits that are asked for."""
MAX_MESSAGE_BYTES = 64 << 20
RETRY_AFTER_MS = "retry-after-ms"
GRACE_S = 1.0
"""What the client waits beyond the deadline that it gave, so that the server's own answer is heard."""
BOUNDARY = "sensorium-load-7f1d0c5a"
TOO_MANY = 429


class Calls(Protocol):
    """A way to ask."""

    def search(self, modality: str, content: bytes) -> Answer: ...


class GrpcCalls:
    """One channel to `target`, with TLS where `tls` or the environment says so (`sensorium.connect`). Calls
    block each other where `grpc.experimental.gevent` is not set up."""

    def __init__(self, target: str, timeout_s: float, tls: bool = False) -> None:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        try:
            self._channel = connect.channel(target, options, tls)
        except connect.ConnectionSettingsError as error:
            raise SettingsError(str(error)) from error
        self._stub = rpc.SensoriumStub(self._channel)  # type: ignore[no-untyped-call]
        self._target = target
        self._timeout_s = timeout_s

    def status(self) -> pb.Status:
        """Raises UnreachableError."""
        try:
            status: pb.Status = self._stub.GetStatus(pb.GetStatusRequest(), timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise UnreachableError(f"{self._target}: {error.code().name}") from error
        return status

    def search(self, modality: str, content: bytes) -> Answer:
        part = pb.QueryPart(text=content.decode()) if modality == "text" else pb.QueryPart(data=content)
        request = pb.SearchRequest(parts=[part], limit=LIMIT)
        try:
            response = self._stub.Search(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            return _refused(error)
        return Answer(
            Outcome.ANSWERED,
            "OK",
            stages_ms={**{stage.stage: stage.ms for stage in response.stages}, "total": response.total_ms},
            degraded=tuple(response.degraded),
            cached=response.cached,
            cached_embeddings=bool(response.parts) and all(each.cached for each in response.parts),
        )


def _refused(error: grpc.RpcError) -> Answer:
    code = error.code()
    if code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Answer(Outcome.FAILED, code.name)
    waits = [each.value for each in error.trailing_metadata() or () if each.key == RETRY_AFTER_MS]
    return Answer(
        Outcome.REJECTED, code.name, retry_after_s=_seconds(waits[0], per_second=1000) if waits else None
    )


class RestCalls:
    """Kept connections to the server at `url`, as many as there are calls at once."""

    def __init__(self, url: str, timeout_s: float, connections: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{url!r} is no http or https URL")
        self._client = HTTPClient.from_url(
            url,
            concurrency=connections,
            connection_timeout=timeout_s,
            network_timeout=timeout_s + GRACE_S,
            ssl_options=connect.tls_files(),
        )
        self._path = f"{parts.path.rstrip('/')}/v1/search"
        self._timeout_s = timeout_s
        try:
            self._headers = {"sensorium-timeout-ms": f"{timeout_s * 1000:.0f}", **connect.headers()}
        except connect.ConnectionSettingsError as error:
            raise SettingsError(str(error)) from error

    def search(self, modality: str, content: bytes) -> Answer:
        kind, body = _text_body(content) if modality == "text" else _file_body(content)
        headers = {"content-type": kind, **self._headers}
        try:
            with gevent.Timeout(self._timeout_s + GRACE_S):
                response = self._client.request("POST", self._path, body=body, headers=headers)
                status, retry_after = response.status_code, response.get("retry-after")
                text = bytes(response.read())
        except gevent.Timeout:
            return Answer(Outcome.FAILED, "timeout")
        except (OSError, HTTPParseError) as error:
            return Answer(Outcome.FAILED, type(error).__name__)
        if status == TOO_MANY:
            return Answer(Outcome.REJECTED, str(status), retry_after_s=_seconds(retry_after))
        if status != 200:
            return Answer(Outcome.FAILED, str(status))
        return _read(text)


def _read(text: bytes) -> Answer:
    try:
        body: Mapping[str, Any] = json.loads(text)
        stages = {each["stage"]: float(each.get("ms", 0.0)) for each in body.get("stages", [])}
        parts = body.get("parts", [])
        return Answer(
            Outcome.ANSWERED,
            "200",
            stages_ms={**stages, "total": float(body.get("totalMs", 0.0))},
            degraded=tuple(body.get("degraded", ())),
            cached=bool(body.get("cached", False)),
            cached_embeddings=bool(parts) and all(each.get("cached", False) for each in parts),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Answer(Outcome.FAILED, "malformed")


def _text_body(content: bytes) -> tuple[str, bytes]:
    return "application/json", json.dumps({"parts": [{"text": content.decode()}], "limit": LIMIT}).encode()


def _file_body(content: bytes) -> tuple[str, bytes]:
    """Multipart: base64 in JSON would be a third larger, and dearer on both sides."""
    asked = json.dumps({"parts": [{"file": "part0"}], "limit": LIMIT})
    head = (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="request"\r\n\r\n{asked}\r\n'
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="part0"; filename="part0"\r\n'
        "content-type: application/octet-stream\r\n\r\n"
    )
    return (
        f"multipart/form-data; boundary={BOUNDARY}",
        head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode(),
    )


def _seconds(value: object, per_second: float = 1) -> float | None:
    """A header's number of seconds (or of `per_second` units); None where it is none."""
    try:
        return float(str(value)) / per_second
    except ValueError:
        return None
