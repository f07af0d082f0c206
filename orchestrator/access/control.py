"""The one place where a call is let in or refused, for gRPC and REST alike."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from orchestrator.access.audit import Audit
from orchestrator.access.caller import EVERYONE, Caller
from orchestrator.access.keys import KEY_PREFIX, KeyRing
from orchestrator.access.rates import Rates
from orchestrator.access.scopes import CALLS, Scope
from orchestrator.access.tokens import Tokens
from orchestrator.errors import (
    CredentialError,
    ForbiddenError,
    RateLimitError,
    SensoriumError,
    UnauthenticatedError,
)
from orchestrator.settings import AccessSettings

__all__ = ["AccessControl"]

_MAX_CREDENTIAL_BYTES = 8192


class AccessControl:
    """``allow`` before anything of a request but its headers is read; ``refusal`` says what is answered.

    ``close`` it at the end.

    Raises:
        ConfigurationError: keys, tokens' keys or the audit file cannot be used.
    """

    def __init__(self, settings: AccessSettings) -> None:
        self.enabled = settings.enabled
        self._settings = settings
        self.audit = Audit(settings.audit_file)
        self._keys = (
            KeyRing(settings.keys_file, settings.per_minute, self._keys_changed)
            if settings.keys_file
            else None
        )
        self._tokens = Tokens(settings) if settings.jwt_jwks_file else None
        self._rates = Rates()
        self._failures = Rates()

    def allow(self, call: str | None, credentials: Sequence[str]) -> Caller:
        """Who makes ``call``; ``credentials`` are the values of all its Authorization headers.

        A call that no table knows (None) is refused while authentication is on.

        Raises:
            UnauthenticatedError: a credential is needed, and there is none, or more than one, or it is not
            good. RateLimitError: this caller has none of its requests left.
            ForbiddenError: its scopes do not suffice.
        """
        if not self.enabled or (call is not None and CALLS[call] is None):
            return EVERYONE
        caller = self._caller(credentials)
        wait_s = self._rates.take(caller.id, caller.per_minute)
        if wait_s:
            raise _too_often(caller.per_minute, wait_s)
        if call is None or not caller.may(call):
            needed: Scope | None = CALLS[call] if call is not None else None
            self.audit.write(call or "unknown", caller.id, ForbiddenError.code)
            raise ForbiddenError(f"this needs the scope {needed}" if needed else "this may not be called")
        return caller

    def refusal(self, call: str | None, error: SensoriumError, address: str) -> SensoriumError:
        """What is answered in the place of ``error`` to ``address``; an address that fails too often must
        wait.

        Each refusal that is answered as such is in the audit, so that their number is bounded; those of a
        known caller are bounded by its own rate.
        """
        if not isinstance(error, UnauthenticatedError):
            return error
        allowed = self._settings.failures_per_minute
        wait_s = self._failures.take(network_of(address), allowed)
        if wait_s:
            return _too_often(allowed, wait_s)
        self.audit.write(call or "unknown", "", error.code, address=address)
        return error

    def _caller(self, credentials: Sequence[str]) -> Caller:
        if not credentials:
            raise UnauthenticatedError("this needs a key: send it as Authorization: Bearer <key>")
        scheme, _, credential = credentials[0].partition(" ")
        # With two, a proxy in front may have judged the other one.
        if len(credentials) > 1 or scheme.lower() != "bearer" or len(credential) > _MAX_CREDENTIAL_BYTES:
            raise CredentialError("send one Authorization header of the form Bearer <key>")
        caller = None
        if credential.startswith(KEY_PREFIX):
            if self._keys is not None:
                caller = self._keys.caller_of(credential)
        elif self._tokens is not None:
            caller = self._tokens.caller_of(credential)
        if caller is None:
            raise CredentialError("the credential is not valid, or not any more")
        return caller

    def _keys_changed(self, changes: Mapping[str, list[str]]) -> None:
        """Whoever changed the file, and however: who may do what is part of what was done."""
        self.audit.write("keys", "", "ok", **changes)

    def close(self) -> None:
        """Closes the audit."""
        self.audit.close()


def network_of(address: str) -> str:
    """What one party may be taken to hold: an IPv4 address, or the /64 around an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)


def _too_often(per_minute: int, wait_s: float) -> RateLimitError:
    return RateLimitError(
        "too many requests of this caller", limit=f"per_minute={per_minute}", retry_after_s=wait_s
    )
