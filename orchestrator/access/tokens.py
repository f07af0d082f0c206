"""JSON Web Tokens (RFC 7519) of one issuer, checked after RFC 8725.

Each key of the JWKS file says by itself which algorithm it is for, and a token that names another is refused:
what a token says of itself decides nothing. Issuer, audience, expiry and subject must be there.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Any

import jwt
import structlog
from cachetools import LRUCache

from orchestrator.access.caller import Caller, read_filter
from orchestrator.access.scopes import Scope
from orchestrator.errors import ConfigurationError, FilterError
from orchestrator.logs import describe
from orchestrator.settings import AccessSettings
from orchestrator.watched_file import WatchedFile

__all__ = ["ALGORITHMS", "FILTER_CLAIM", "Tokens"]

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "HS256")
FILTER_CLAIM = "sensorium_filter"
_LEEWAY_S = 30
_MOST_KEPT = 4096
_LEAST_SECRET_BYTES = 32
_SUBJECT = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_SCOPES = {scope.value: scope for scope in Scope}

_log = structlog.get_logger(__name__)


class Tokens:
    """Tokens -> callers. What was verified is kept until it expires: a signature costs more than a search
    may.

    Another JWKS file is noticed within a second, and then everything is verified anew.

    Raises:
        ConfigurationError: the first JWKS file cannot be read.
    """

    def __init__(self, settings: AccessSettings) -> None:
        if settings.jwt_jwks_file is None:
            raise ConfigurationError("tokens need a JWKS file")
        self._settings = settings
        self._watched = WatchedFile(settings.jwt_jwks_file)
        self._kept: LRUCache[bytes, tuple[Caller, float]] = LRUCache(_MOST_KEPT)
        self._keys = self._load()

    def caller_of(self, credential: str) -> Caller | None:
        """Whom a token stands for; None if it is not for us, not signed by a key of ours, or not valid
        now.
        """
        if self._watched.changed():
            try:
                self._keys = self._load()
                self._kept.clear()
            except ConfigurationError as error:
                _log.error("jwks file not taken", **describe(error))
        name = hashlib.sha256(credential.encode()).digest()
        caller, until_s = self._kept.get(name, (None, 0.0))
        if caller is None or until_s <= time.time():
            self._kept.pop(name, None)
            try:
                caller, until_s = self._verified(credential)
            except (jwt.PyJWTError, FilterError, ValueError, TypeError, OverflowError):
                return None
            self._kept[name] = (caller, until_s)
        return caller

    def _verified(self, credential: str) -> tuple[Caller, float]:
        """Raises: jwt.PyJWTError, FilterError; ValueError, TypeError and OverflowError of odd claims."""
        header = jwt.get_unverified_header(credential)
        kid = header.get("kid")
        if kid is None and len(self._keys) == 1:
            (kid,) = self._keys
        if not isinstance(kid, str) or kid not in self._keys:
            raise jwt.InvalidKeyError("no such key")
        key = self._keys[kid]
        claims = jwt.decode(
            credential,
            key,
            algorithms=[key.algorithm_name],
            audience=self._settings.jwt_audience,
            issuer=self._settings.jwt_issuer,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return self._caller(claims), float(claims["exp"]) + _LEEWAY_S

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        words = claims.get("scope", "")
        if not isinstance(words, str):
            raise TypeError("scope is no string")
        scopes = frozenset(_SCOPES[word] for word in words.split() if word in _SCOPES)
        condition, expression = None, ""
        if FILTER_CLAIM in claims:  # also if it is null: a restriction that is none is a mistake
            condition, expression = read_filter(claims[FILTER_CLAIM], scopes)
        subject = claims["sub"]
        if not _SUBJECT.fullmatch(subject):
            # It can name no user, but it can be counted.
            subject = f"sha256-{hashlib.sha256(subject.encode()).hexdigest()[:32]}"
        return Caller(
            f"token:{subject}",
            scopes,
            condition,
            expression,
            user=None if Scope.ADMIN in scopes else subject,
            per_minute=self._settings.per_minute,
        )

    def _load(self) -> dict[str, jwt.PyJWK]:
        path = self._watched.path
        try:
            entries = json.loads(path.read_bytes())["keys"]
            keys = [jwt.PyJWK(entry) for entry in entries if _usable(entry)]
        except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            raise ConfigurationError(f"the JWKS file {path} cannot be read, or is not one") from error
        named = {key.key_id: key for key in keys if isinstance(key.key_id, str)}
        if not named or len(named) != len(keys):
            raise ConfigurationError(f"every key of the JWKS file {path} needs a kid of its own")
        return {kid: key for kid, key in named.items() if kid is not None}


def _usable(entry: Mapping[str, Any]) -> bool:
    """Whether a key is for signatures. Raises ValueError where it leaves open, or has wrong, what for."""
    if entry.get("use", "sig") != "sig":
        return False
    if entry.get("alg") not in ALGORITHMS:
        raise ValueError(f"a key must say its alg, one of {', '.join(ALGORITHMS)}")
    if entry["alg"] == "HS256" and len(jwt.PyJWK(dict(entry)).key) < _LEAST_SECRET_BYTES:
        raise ValueError("the secret of HS256 is too short")
    return True
