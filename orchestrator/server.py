"""Both faces of one service, from start to a drained stop."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
import uvicorn
from threadpoolctl import threadpool_limits

from media import Limits
from orchestrator.errors import ConfigurationError
from orchestrator.grpc_server import GrpcServer
from orchestrator.ports import ItemStore
from orchestrator.rest.app import build_app
from orchestrator.rest.files import Files
from orchestrator.service import Service
from orchestrator.settings import ApiSettings
from orchestrator.tls import tls_of

__all__ = ["Ports", "serve"]

_KEEP_ALIVE_S = 30
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where it listens; of use when the settings left the choice to the system."""

    grpc: int
    http: int


async def serve(
    settings: ApiSettings,
    service: Service,
    items: ItemStore,
    limits: Limits,
    stop: asyncio.Event,
    on_ready: Callable[[Ports], None] = lambda _: None,
) -> None:
    """Serves gRPC and REST until ``stop`` is set, then drains for at most ``settings.drain_s`` seconds.

    ``on_ready`` is told once both listen. What ``service`` stands on stays open: whoever built it closes it.

    Raises:
        ConfigurationError: a port cannot be bound, TLS cannot be set up, or anybody could reach what asks
        for no
            credential.
    """
    # The products of a search are tiny: on busy cores, handing them to BLAS threads took ten times as long.
    with threadpool_limits(1, user_api="blas"):
        await _serve(settings, service, items, limits, stop, on_ready)


async def _serve(
    settings: ApiSettings,
    service: Service,
    items: ItemStore,
    limits: Limits,
    stop: asyncio.Event,
    on_ready: Callable[[Ports], None],
) -> None:
    _require_authentication(settings, service.access.enabled)
    tls = tls_of(settings)
    files = Files(items, limits)
    listener = _listen(settings)
    config = uvicorn.Config(
        build_app(service, files, settings),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
    )
    http = _Http(config)
    renewing = asyncio.create_task(tls.keep_renewed()) if tls is not None else None
    try:
        grpc_server = GrpcServer(service, settings, tls)
        await grpc_server.start()
        serving = asyncio.create_task(http.serve(sockets=[listener]))
        stopped = asyncio.create_task(stop.wait())
        try:
            ports = Ports(grpc_server.port, listener.getsockname()[1])
            _log.info("serving", grpc_port=ports.grpc, http_port=ports.http)
            on_ready(ports)
            await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            service.stopping = True
            http.should_exit = True
            _log.info("draining", seconds=settings.drain_s)
            await asyncio.gather(grpc_server.stop(settings.drain_s), serving)
    finally:
        if renewing is not None:
            renewing.cancel()
        listener.close()
        files.close()


class _Http(uvicorn.Server):
    """Uvicorn without its signal handlers: the composition root decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _require_authentication(settings: ApiSettings, authenticated: bool) -> None:
    """Raises ConfigurationError where strangers could reach what is meant for this machine."""
    if _is_loopback(settings.host):
        return
    if not authenticated and not settings.unauthenticated_beyond_loopback:
        raise ConfigurationError(
            f"{settings.host} is beyond loopback and nothing is asked of callers: set "
            "SENSORIUM_ACCESS__KEYS_FILE or SENSORIUM_ACCESS__JWT_JWKS_FILE, or, where the network "
            "lets nobody else in, SENSORIUM_API__UNAUTHENTICATED_BEYOND_LOOPBACK=true (docs/security.md)"
        )
    if settings.tls_certificate_file is None:
        _log.warning("plaintext beyond loopback", authenticated=authenticated)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # any other name may come to mean anything


def _listen(settings: ApiSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.http_port))
        listener.listen(2048)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"port {settings.http_port} of {settings.host} cannot be used") from error
    return listener
