"""A blocking client of the public gRPC API, for the command line and the demo.

Error tree:

    ClientError            the message is fit for a terminal
    +-- NotRunningError    nothing answers at the target
    +-- RefusedError       the server refused the request; `.error` is its typed Error
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from types import TracebackType

import grpc

from sensorium.connect import ConnectionSettingsError, channel
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["Client", "ClientError", "NotRunningError", "RefusedError"]

ERROR_KEY = "sensorium-error-bin"
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
# A stub that is gone is found out at once; one that only starts is waited for elsewhere (cli.stack).
FAIL_FAST = json.dumps(
    {"methodConfig": [{"name": [{"service": "sensorium.v1.Sensorium"}], "waitForReady": False}]}
)


class ClientError(Exception):
    """Base of what this client raises."""


class NotRunningError(ClientError):
    """Nothing answers at the target."""


class RefusedError(ClientError):
    """The server refused the request."""

    def __init__(self, error: pb.Error) -> None:
        self.error = error
        where = f" (part {error.part})" if error.HasField("part") else ""
        limit = f" [{error.limit}]" if error.limit else ""
        super().__init__(f"{error.code}{where}: {error.message}{limit}")


class Client:
    """One channel to `target` ("host:port"); close it, or use it in a `with`.

    The environment says whether over TLS and with which key (`sensorium.connect`). Raises ClientError.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        options = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.service_config", FAIL_FAST),
            ("grpc.enable_http_proxy", 0),
        ]
        try:
            self._channel = channel(target, options)
        except ConnectionSettingsError as error:
            raise ClientError(str(error)) from error
        self._stub = rpc.SensoriumStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def search(self, request: pb.SearchRequest, timeout_s: float = 30.0) -> pb.SearchResponse:
        """Raises RefusedError for bad input, NotRunningError when nothing answers."""
        try:
            response: pb.SearchResponse = self._stub.Search(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._mapped(error) from error
        return response

    def upsert(self, items: Iterable[pb.Item]) -> Iterator[pb.UpsertResult]:
        """Streams items up; yields each one's outcome in the order sent."""
        try:
            yield from self._stub.Upsert(iter(items))
        except grpc.RpcError as error:
            raise self._mapped(error) from error

    def get(self, item_id: str, timeout_s: float = 10.0) -> pb.Item:
        """Raises RefusedError when there is no such item."""
        try:
            item: pb.Item = self._stub.Get(pb.GetRequest(id=item_id), timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._mapped(error) from error
        return item

    def status(self, timeout_s: float = 5.0) -> pb.Status:
        """Raises NotRunningError when nothing answers."""
        try:
            status: pb.Status = self._stub.GetStatus(pb.GetStatusRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._mapped(error) from error
        return status

    def _mapped(self, error: grpc.RpcError) -> ClientError:
        # grpc raises its call objects as errors: they carry code() and trailing_metadata().
        trailing: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
        for key, value in trailing:
            if key == ERROR_KEY and isinstance(value, bytes):
                return RefusedError(pb.Error.FromString(value))
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return NotRunningError(f"nothing answers at {self.target}: start it with `sensorium up`")
        return ClientError(f"{error.code().name}: {error.details()}")
