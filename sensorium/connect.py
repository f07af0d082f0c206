"""How a client of ours reaches a system: over TLS and with a credential, as its environment says.

``SENSORIUM_CLIENT_CREDENTIAL``, or ``SENSORIUM_CLIENT_CREDENTIAL_FILE`` which holds it: an API key or a
token. ``SENSORIUM_CLIENT_TLS_CA_FILE``: the authority that signed the server's certificate; with it TLS is
spoken. ``SENSORIUM_CLIENT_TLS_CERTIFICATE_FILE`` and ``SENSORIUM_CLIENT_TLS_KEY_FILE``: a certificate of
the client.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc

__all__ = ["ConnectionSettingsError", "channel", "headers", "tls_files"]

_PREFIX = "SENSORIUM_CLIENT_"
_NAMES = ("CREDENTIAL", "CREDENTIAL_FILE", "TLS_CA_FILE", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE")


class ConnectionSettingsError(ValueError):
    """A variable of the environment is not one of these, or names a file that cannot be read."""


def headers(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The Authorization header, if there is a credential.

    Raises:
        ConnectionSettingsError: its file cannot be read, or a variable is misspelt.
    """
    for name in environ:
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in _NAMES:
            raise ConnectionSettingsError(f"unknown setting {name}")
    credential = environ.get(f"{_PREFIX}CREDENTIAL", "")
    if not credential:
        credential = (_content(environ, "CREDENTIAL_FILE") or b"").decode("ascii", "replace").strip()
    return {"authorization": f"Bearer {credential}"} if credential else {}


def channel(
    target: str,
    options: Sequence[tuple[str, Any]] = (),
    tls: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> grpc.Channel:
    """A channel to ``target`` ("host:port"); ``tls`` asks for TLS with the authorities that gRPC brings.

    Raises:
        ConnectionSettingsError: as ``headers``.
    """
    authority = _content(environ, "TLS_CA_FILE")
    if authority is None and not tls:
        made = grpc.insecure_channel(target, options=options)
    else:
        credentials = grpc.ssl_channel_credentials(
            authority, _content(environ, "TLS_KEY_FILE"), _content(environ, "TLS_CERTIFICATE_FILE")
        )
        made = grpc.secure_channel(target, credentials, options=options)
    sent = headers(environ)
    return grpc.intercept_channel(made, _Credential(tuple(sent.items()))) if sent else made


def tls_files(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The files of TLS by their names in ``ssl``: ca_certs, certfile, keyfile, as far as they are set."""
    names = {"ca_certs": "TLS_CA_FILE", "certfile": "TLS_CERTIFICATE_FILE", "keyfile": "TLS_KEY_FILE"}
    return {name: environ[_PREFIX + key] for name, key in names.items() if environ.get(_PREFIX + key)}


def _content(environ: Mapping[str, str], name: str) -> bytes | None:
    path = environ.get(f"{_PREFIX}{name}")
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConnectionSettingsError(f"{_PREFIX}{name}: the file cannot be read") from error


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Credential(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Adds the header to each call: gRPC takes call credentials on TLS only, and loopback has none."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(self._with_header(details), request)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], details: Any, request_iterator: Iterator[Any]
    ) -> Any:
        return continuation(self._with_header(details), request_iterator)

    def _with_header(self, details: Any) -> _Details:
        return _Details(
            details.method,
            details.timeout,
            (*(details.metadata or ()), *self._metadata),
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
