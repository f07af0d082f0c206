"""Credentials for tests: a keys file, an issuer of tokens, and certificates of an authority of one's own."""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from orchestrator.access.keys import create_key, revoke_key
from orchestrator.access.scopes import Scope
from orchestrator.settings import AccessSettings, ApiSettings

ISSUER, AUDIENCE = "https://issuer.example", "sensorium"
ALL = tuple(Scope)


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


@dataclass
class Issuer:
    """Signs tokens with a key of each kind; the public ones stand in ``file``."""

    file: Path
    rsa: Any = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    ec: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    secret: bytes = b"s" * 32

    def __post_init__(self) -> None:
        self.write(self.entries())

    def entries(self) -> list[dict[str, Any]]:
        return [
            {**_jwk("RS256", self.rsa.public_key()), "kid": "r", "alg": "RS256", "use": "sig"},
            {**_jwk("ES256", self.ec.public_key()), "kid": "e", "alg": "ES256"},
            {**_jwk("HS256", self.secret), "kid": "h", "alg": "HS256"},
        ]

    def write(self, entries: list[dict[str, Any]]) -> None:
        self.file.write_text(json.dumps({"keys": entries}))

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good ones; a change to None leaves a claim out."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ann",
            "exp": int(time.time()) + 600,
            "scope": "openid search read feedback",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, kid: str = "e", **changes: Any) -> str:
        key = {"r": self.rsa, "e": self.ec, "h": self.secret}[kid]
        algorithm = {"r": "RS256", "e": "ES256", "h": "HS256"}[kid]
        return jwt.encode(self.claims(**changes), key, algorithm, headers={"kid": kid})


def _jwk(algorithm: str, key: Any) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return dict(made)


@dataclass
class Door:
    """A keys file, an issuer, and the settings that name both."""

    keys_file: Path
    issuer: Issuer
    settings: AccessSettings

    def key(self, *scopes: Scope, name: str = "test", **options: Any) -> str:
        return create_key(self.keys_file, name, scopes or ALL, **options)[1]

    def revoke(self, credential: str) -> None:
        revoke_key(self.keys_file, credential.split("_")[1])


@pytest.fixture
def door(tmp_path: Path) -> Door:
    issuer = Issuer(tmp_path / "jwks.json")
    keys_file = tmp_path / "keys.json"
    create_key(keys_file, "first", ALL)
    settings = AccessSettings(
        keys_file=keys_file,
        jwt_jwks_file=issuer.file,
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
        audit_file=tmp_path / "audit.jsonl",
    )
    return Door(keys_file, issuer, settings)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed files are looked for at each call."""
    monkeypatch.setattr("orchestrator.watched_file._EVERY_S", 0.0)


@dataclass
class Authority:
    """Signs certificates of 127.0.0.1 into ``folder``."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.ca.cert_pem.write_to_path(str(self.file))
        self.issue()

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str = "server") -> tuple[Path, Path]:
        """A new certificate and its key, over those of before."""
        made = self.ca.issue_cert(
            "127.0.0.1", "localhost", not_after=datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
        )
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return certificate, key

    def settings(self, **more: Any) -> ApiSettings:
        return ApiSettings(
            tls_certificate_file=self.folder / "server.pem", tls_key_file=self.folder / "server.key", **more
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")
