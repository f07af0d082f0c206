"""API keys: made here, kept as salted hashes in a JSON file, looked up by their id.

A key is ``sns_<id>_<secret>``. The secret is 32 random bytes, so one fast hash does: a slow one protects what
people choose and could be guessed, and nobody goes through 2**256 secrets at any speed. The id is no secret;
it names the key in the file and in the audit.

The file is replaced as a whole, so a reader has the old or the new one. A revoked key stays in it, with the
time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.access.caller import Caller, read_filter
from orchestrator.access.scopes import Scope
from orchestrator.errors import ConfigurationError, FilterError
from orchestrator.logs import describe
from orchestrator.watched_file import WatchedFile

__all__ = ["KEY_PREFIX", "Key", "KeyRing", "create_key", "read_keys", "revoke_key"]

KEY_PREFIX = "sns_"
_KEY = re.compile(r"sns_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NOBODY = (b"\x00" * 16, b"\x00" * 32)
_MAX_FILE_BYTES = 16 * 1024 * 1024

_log = structlog.get_logger(__name__)

_Known: TypeAlias = "dict[str, tuple[Key | None, Caller | None, tuple[bytes, bytes]]]"

Salt = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Key(BaseModel):
    """One key as the file has it.

    ``filter`` is a ``Filter`` of the API in its JSON; ``users`` is set before the users whom requests name,
    and ends with its only colon, so that no two such names meet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    salt: Salt
    hash: Hash
    scopes: tuple[Scope, ...]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    filter: dict[str, Any] | None = None
    users: Annotated[str, Field(pattern=r"^([A-Za-z0-9._-]{1,64}:)?$")] = ""
    per_minute: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _restricted_keys_are_apart(self) -> Self:
        if self.filter is not None:
            if not self.users:
                raise ValueError("a key with a filter needs users of its own")
            try:
                read_filter(self.filter, frozenset(self.scopes))
            except FilterError as error:
                raise ValueError(error.message) from error
        return self

    def caller(self, per_minute: int) -> Caller:
        """Whom it stands for; ``per_minute`` where it says nothing of its own."""
        scopes = frozenset(self.scopes)
        condition, expression = (None, "") if self.filter is None else read_filter(self.filter, scopes)
        return Caller(
            f"key:{self.id}",
            scopes,
            condition,
            expression,
            prefix=self.users,
            per_minute=self.per_minute or per_minute,
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=1, le=1)] = 1
    keys: tuple[Key, ...] = ()


class KeyRing:
    """The keys of a file, in memory; another file is noticed within a second.

    One that cannot be read is logged, and the keys of before stay until it can. ``told`` hears the ids that a
    later file has ``created``, ``revoked``, ``altered`` or ``removed``.

    Raises:
        ConfigurationError: the first file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        per_minute: int,
        told: Callable[[Mapping[str, list[str]]], None] = lambda _: None,
    ) -> None:
        self._per_minute = per_minute
        self._told = told
        self._watched = WatchedFile(path)
        self._load()

    def caller_of(self, credential: str) -> Caller | None:
        """Whom a key stands for; None if it is unknown, wrong, revoked or expired."""
        if self._watched.changed():
            before = self._known
            try:
                self._load()
            except ConfigurationError as error:
                _log.error("keys file not taken", **describe(error))
            if changes := _changes(before, self._known):
                self._told(changes)
        match = _KEY.fullmatch(credential)
        if match is None:
            return None
        key, caller, (salt, expected) = self._known.get(match[1], (None, None, _NOBODY))
        right = hmac.compare_digest(_hash(match[2], salt), expected)
        if not right or key is None or key.revoked is not None:
            return None
        if key.expires is not None and key.expires <= datetime.now(UTC):
            return None
        return caller

    def _load(self) -> None:
        self._known: _Known = {
            key.id: (key, key.caller(self._per_minute), (bytes.fromhex(key.salt), bytes.fromhex(key.hash)))
            for key in read_keys(self._watched.path)
        }


def _changes(before: _Known, after: _Known) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for key_id in sorted({*before, *after}):
        old, new = (known[key_id][0] if key_id in known else None for known in (before, after))
        if old == new:
            continue
        if new is None:
            found["removed"].append(key_id)
        elif old is None:
            found["created"].append(key_id)
        else:
            found["revoked" if new.revoked and not old.revoked else "altered"].append(key_id)
    return dict(found)


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        ConfigurationError: there is none, it is no list of keys, or others than its owner may write it.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigurationError(f"the keys file {path} can be written by others than its owner")
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigurationError(f"the keys file {path} is too large")
        keys = _File.model_validate_json(content).keys
    except (OSError, ValidationError) as error:
        # Pydantic's own text quotes the file.
        raise ConfigurationError(f"the keys file {path} cannot be read, or is not one") from error
    if len({key.id for key in keys}) != len(keys):
        raise ConfigurationError(f"the keys file {path} has two keys of one id")
    return keys


def create_key(
    path: Path,
    name: str,
    scopes: Collection[Scope],
    *,
    expires: datetime | None = None,
    condition: dict[str, Any] | None = None,
    users: str = "",
    per_minute: int | None = None,
) -> tuple[Key, str]:
    """Adds a key to the file, which need not exist; gives it and the credential, which is kept nowhere.

    Raises:
        ConfigurationError: the file cannot be read or written, or the key would be none.
    """
    secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)
    try:
        key = Key(
            id=secrets.token_hex(8),
            name=name,
            salt=salt.hex(),
            hash=_hash(secret, salt).hex(),
            scopes=tuple(sorted(set(scopes))),
            created=datetime.now(UTC),
            expires=expires,
            filter=condition,
            users=users or (f"{name}:" if condition is not None else ""),
            per_minute=per_minute,
        )
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors())
        raise ConfigurationError(f"there is no such key: {reasons}") from error
    with _exclusive(path):
        _write(path, (*(read_keys(path) if path.exists() else ()), key))
    return key, f"{KEY_PREFIX}{key.id}_{secret}"


def revoke_key(path: Path, key_id: str) -> Key:
    """Marks a key as revoked; one that was already keeps its time.

    Raises:
        ConfigurationError: there is no such key, or the file cannot be read or written.
    """
    with _exclusive(path):
        keys = {key.id: key for key in read_keys(path)}
        if key_id not in keys:
            raise ConfigurationError("there is no key of this id")
        if keys[key_id].revoked is None:
            keys[key_id] = keys[key_id].model_copy(update={"revoked": datetime.now(UTC)})
            _write(path, tuple(keys.values()))
        return keys[key_id]


def _hash(secret: str, salt: bytes) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=32, key=salt).digest()


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """One writer at a time."""
    try:
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise ConfigurationError(f"the keys file {path} cannot be written") from error


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    """Replaces the file; it keeps its permissions, and a new one is its owner's alone."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    content = json.dumps(_File(keys=keys).model_dump(mode="json", exclude_none=True), indent=1) + "\n"
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
