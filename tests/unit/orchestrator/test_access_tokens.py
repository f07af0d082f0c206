"""Tokens: what a token says of itself decides nothing (RFC 8725)."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fixtures_access import Door

from orchestrator.access.scopes import Scope
from orchestrator.access.tokens import Tokens
from orchestrator.errors import ConfigurationError, ForbiddenError
from orchestrator.settings import AccessSettings


@pytest.fixture
def tokens(door: Door) -> Tokens:
    return Tokens(door.settings)


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("kid", ["r", "e", "h"])
def test_a_token_of_each_kind_of_key(door: Door, tokens: Tokens, kid: str) -> None:
    caller = tokens.caller_of(door.issuer.token(kid))
    assert caller is not None
    assert caller.id == "token:ann"
    assert caller.scopes == {Scope.SEARCH, Scope.READ, Scope.FEEDBACK}


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": int(time.time()) + 7 * 86400},
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"scope": ["search"]},
        {"sensorium_filter": {}},
        {"sensorium_filter": "category"},
        {"sensorium_filter": {"category": {"values": ["a"]}}, "scope": "search write"},
    ],
    ids=str,
)
def test_a_claim_that_does_not_fit(door: Door, tokens: Tokens, changes: dict[str, Any]) -> None:
    assert tokens.caller_of(door.issuer.token(**changes)) is None


def test_a_null_filter_is_no_licence(door: Door, tokens: Tokens) -> None:
    claims = {**door.issuer.claims(), "sensorium_filter": None}
    assert tokens.caller_of(jwt.encode(claims, door.issuer.ec, "ES256", headers={"kid": "e"})) is None


def test_no_signature_is_no_token(door: Door, tokens: Tokens) -> None:
    claims = door.issuer.claims()
    for algorithm in ("none", "None", "NONE"):
        for kid in ("r", "e", "h"):
            header = {"alg": algorithm, "typ": "JWT", "kid": kid}
            assert tokens.caller_of(f"{encoded(header)}.{encoded(claims)}.") is None


def test_a_public_key_is_no_secret(door: Door, tokens: Tokens) -> None:
    """The classic: HS256 over the public key's PEM, for a server that lets the token choose."""
    import hashlib
    import hmac

    public = door.issuer.rsa.public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(door.issuer.entries()[0]).encode(),
    ):
        signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': 'r'})}.{encoded(door.issuer.claims())}"
        mark = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        assert tokens.caller_of(f"{signed}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}") is None


def test_an_algorithm_is_the_keys_not_the_tokens(door: Door, tokens: Tokens) -> None:
    """A good signature by our own key, with an algorithm that the key is not for."""
    token = jwt.encode(door.issuer.claims(), door.issuer.rsa, "PS256", headers={"kid": "r"})
    assert tokens.caller_of(token) is None


def test_a_key_in_the_token_is_not_looked_at(door: Door, tokens: Tokens) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    public = jwt.get_algorithm_by_name("ES256").to_jwk(own.public_key(), as_dict=True)
    headers = {"kid": "e", "jwk": public, "jku": "https://evil.example/jwks.json"}
    assert tokens.caller_of(jwt.encode(door.issuer.claims(), own, "ES256", headers=headers)) is None


def test_an_unknown_or_missing_kid(door: Door, tokens: Tokens) -> None:
    claims, key = door.issuer.claims(), door.issuer.ec
    assert tokens.caller_of(jwt.encode(claims, key, "ES256", headers={"kid": "x"})) is None
    assert tokens.caller_of(jwt.encode(claims, key, "ES256")) is None
    crit = {"kid": "e", "crit": ["b64x"], "b64x": False}
    assert tokens.caller_of(jwt.encode(claims, key, "ES256", headers=crit)) is None


@pytest.mark.parametrize("odd", ["", ".", "..", "a.b.c", "x" * 8000, "\u00e4.\u00e4.\u00e4"])
def test_what_is_no_token(tokens: Tokens, odd: str) -> None:
    assert tokens.caller_of(odd) is None


def test_a_changed_payload_loses_its_signature(door: Door, tokens: Tokens) -> None:
    head, _, mark = door.issuer.token().split(".")
    claims = door.issuer.claims(scope="search admin")
    assert tokens.caller_of(f"{head}.{encoded(claims)}.{mark}") is None


def test_a_verified_token_ends_with_its_time(
    door: Door, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of it does not outlive it."""
    token = door.issuer.token()
    assert tokens.caller_of(token) is not None

    def expired(_credential: str) -> None:
        raise jwt.ExpiredSignatureError

    monkeypatch.setattr(tokens, "_verified", expired)
    assert tokens.caller_of(token) is not None
    later = time.time() + 631
    monkeypatch.setattr("orchestrator.access.tokens.time.time", lambda: later)
    assert tokens.caller_of(token) is None


@pytest.mark.usefixtures("now")
def test_a_withdrawn_key_ends_its_tokens(door: Door, tokens: Tokens) -> None:
    token = door.issuer.token("e")
    assert tokens.caller_of(token) is not None
    door.issuer.write(door.issuer.entries()[:1])
    assert tokens.caller_of(token) is None
    assert tokens.caller_of(door.issuer.token("r")) is not None


def test_a_token_speaks_for_its_subject(door: Door, tokens: Tokens) -> None:
    caller = tokens.caller_of(door.issuer.token())
    assert caller is not None
    assert caller.named("ann") == "ann"
    with pytest.raises(ForbiddenError):
        caller.named("ben")
    assert caller.may("EraseUser")
    admin = tokens.caller_of(door.issuer.token(scope="admin"))
    assert admin is not None
    assert admin.named("ben") == "ben"


def test_a_subject_that_can_name_no_user(door: Door, tokens: Tokens) -> None:
    caller = tokens.caller_of(door.issuer.token(sub="auth0|7 \n"))
    assert caller is not None
    assert caller.id.startswith("token:sha256-")
    with pytest.raises(ForbiddenError):
        caller.named("auth0")


@pytest.mark.parametrize(
    "change",
    [
        {"alg": None},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "RS512"},
        {"kid": None},
    ],
    ids=str,
)
def test_a_key_that_leaves_open_what_it_is_for(door: Door, change: dict[str, Any]) -> None:
    entry = {**door.issuer.entries()[0], **change}
    door.issuer.write([{name: value for name, value in entry.items() if value is not None}])
    with pytest.raises(ConfigurationError):
        Tokens(door.settings)


def test_a_short_secret_is_refused(door: Door) -> None:
    short = base64.urlsafe_b64encode(b"x" * 31).rstrip(b"=").decode()
    door.issuer.write([{"kty": "oct", "k": short, "kid": "h", "alg": "HS256"}])
    with pytest.raises(ConfigurationError):
        Tokens(door.settings)


def test_tokens_need_issuer_and_audience(door: Door) -> None:
    with pytest.raises(ValueError, match="jwt_issuer"):
        AccessSettings(jwt_jwks_file=door.issuer.file)


def test_keys_for_encryption_are_passed_over(door: Door) -> None:
    other = rsa.generate_private_key(65537, 2048).public_key()
    entry = {**jwt.get_algorithm_by_name("RS256").to_jwk(other, as_dict=True), "use": "enc", "kid": "x"}
    door.issuer.write([*door.issuer.entries(), entry])
    assert Tokens(door.settings).caller_of(door.issuer.token()) is not None
