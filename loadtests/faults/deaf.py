"""Clients that ask and never read what they are answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import grpc

from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["deaf_clients"]

CONNECTIONS = 8
PIPELINED = 400
"""Requests on each connection: their answers are far more than the buffers of both ends hold."""
RECEIVE_BYTES = 4096


@asynccontextmanager
async def deaf_clients(url: str, target: str) -> AsyncIterator[None]:
    """CONNECTIONS to REST at `url`, and as many calls of one channel to gRPC at `target`, all left unread."""
    parts = urlsplit(url)
    sockets = [_deaf_socket(parts.hostname or "", parts.port or 80, parts.netloc) for _ in range(CONNECTIONS)]
    sending = [asyncio.create_task(_send(each, parts.netloc)) for each in sockets]
    # A window that holds hardly an answer, and no reader.
    channel = grpc.aio.insecure_channel(target, options=[("grpc.http2.lookahead_bytes", 1024)])
    stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
    calls = [stub.Upsert(_items(number)) for number in range(CONNECTIONS)]
    try:
        yield
    finally:
        for call in calls:
            call.cancel()
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        for each in sockets:
            each.close()
        await channel.close()


def _deaf_socket(host: str, port: int, netloc: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    connection.connect((host, port))
    connection.setblocking(False)
    return connection


async def _send(connection: socket.socket, netloc: str) -> None:
    request = f"GET /openapi.json HTTP/1.1\r\nhost: {netloc}\r\n\r\n".encode()
    for _ in range(PIPELINED):
        await asyncio.get_running_loop().sock_sendall(connection, request)


async def _items(number: int) -> AsyncIterator[pb.Item]:
    """Refused one by one, each with an answer of its own, for as long as the call lives."""
    while True:
        yield pb.Item(id=f"not an id {number}", title="x")
        await asyncio.sleep(0)
