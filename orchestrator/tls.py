"""TLS of both faces from one pair of files, which may be renewed while the process runs.

New connections get the new certificate; those that are open go on with theirs. A pair that does not fit, as
while it is being replaced, is logged and left out until it fits. At least TLS 1.2 (gRPC's own least;
Python's is set).
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import grpc
import structlog

from orchestrator.errors import ConfigurationError
from orchestrator.logs import describe
from orchestrator.settings import ApiSettings
from orchestrator.watched_file import WatchedFile

__all__ = ["Tls", "tls_of"]

_RENEW_EVERY_S = 2.0

_log = structlog.get_logger(__name__)


class Tls:
    """``context`` is REST's, ``grpc_credentials`` gRPC's. ``keep_renewed`` while it serves.

    Raises:
        ConfigurationError: certificate, key or authority cannot be read, or do not fit.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._watched = [WatchedFile(path) for path in (certificate, key, client_ca) if path is not None]
        self.context = self._new_context()
        self._pair = self._configuration()
        self._fresh: grpc.ServerCertificateConfiguration | None = None

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Asks before each handshake, in a thread of gRPC's, whether there is a new certificate."""
        return grpc.dynamic_ssl_server_credentials(
            self._pair,
            self._renewed,  # type: ignore[arg-type]  # None is for no change, as gRPC documents it
            require_client_authentication=self._client_ca is not None,
        )

    async def keep_renewed(self) -> None:
        """Looks for new files until it is cancelled."""
        while True:
            await asyncio.sleep(_RENEW_EVERY_S)
            self.renew()

    def renew(self) -> bool:
        """Takes other files if they are there and fit, and says whether it did."""
        changed = [watched.changed() for watched in self._watched]  # each, so that each is told once
        if not any(changed):
            return False
        try:
            self._new_context()  # a pair that does not fit would leave the living context half changed
            self._load(self.context)
            self._pair = self._fresh = self._configuration()
        except ConfigurationError as error:
            _log.error("certificate not taken", **describe(error))
            return False
        _log.info("certificate renewed")
        return True

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        fresh, self._fresh = self._fresh, None
        return fresh

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._certificate, self._key)
            if self._client_ca is not None:
                context.load_verify_locations(self._client_ca)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigurationError("the TLS certificate, key or client authority cannot be used") from error

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        try:
            pair = (self._key.read_bytes(), self._certificate.read_bytes())
            roots = None if self._client_ca is None else self._client_ca.read_bytes()
        except OSError as error:
            raise ConfigurationError("the TLS certificate, key or client authority cannot be read") from error
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)


def tls_of(settings: ApiSettings) -> Tls | None:
    """What ``settings`` ask for; None for plaintext. Raises: ConfigurationError."""
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    return Tls(settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file)
