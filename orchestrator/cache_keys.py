"""Keys of the caches: a hash of everything that an entry depends on, in a form that can be read one way only.

Each value stands with its type and its length in bytes before it, so no two different sequences of values
have one form (``("ab", "c")`` and ``("a", "bc")`` differ), and SHA-256 makes it 32 bytes. A key tells nothing
of what was asked to somebody who reads it but does not guess it.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Sequence
from dataclasses import fields
from typing import TypeAlias

from media import Modality
from orchestrator.calibrate import EmbeddingSet
from orchestrator.classify import ClassifiedPart
from orchestrator.query import SearchQuery
from orchestrator.settings import Settings

__all__ = ["Value", "answer_key", "digest", "embedding_key", "setup_of"]

Value: TypeAlias = "bool | int | float | str | bytes | tuple[Value, ...] | None"


def digest(*values: Value) -> bytes:
    """32 bytes that stand for these values in this order and for no others."""
    return hashlib.sha256(_form(values)).digest()


def embedding_key(modality: Modality, content: bytes, embedding_version: str) -> bytes:
    """Stands for the content of SHA-256 ``content``, read as ``modality``, in this version."""
    return digest("embedding", modality.value, content, embedding_version)


def answer_key(query: SearchQuery, parts: Sequence[ClassifiedPart], setup: bytes, generation: bytes) -> bytes:
    """Stands for one answer: to this query by this ``setup`` from this ``generation`` of the catalogue.

    The order of parts and targets counts: signals name a part by its place, and nothing promises that equal
    scores come in the same order. A lambda that is left to the server must be filled in before. What says who
    is to be served first, or by which way, is no part of an answer.
    """
    return digest(
        "answer",
        setup,
        generation,
        tuple((part.modality.value, part.kind.format, part.weight, part.digest) for part in parts),
        query.permission,
        query.expression,
        tuple(target.value for target in query.targets),
        query.limit,
        query.offset,
        query.min_score,
        query.mmr_lambda,
        query.user,
        tuple(
            (option.name, getattr(query.options, option.name))
            for option in fields(query.options)
            if option.name != "cache"
        ),
    )


def setup_of(settings: Settings, embedding_set: EmbeddingSet, release: str, release_digest: str) -> bytes:
    """Stands for what makes an answer beside the query and the catalogue: the release and the settings.

    Budgets of time count too: they decide what is reached before an answer is called degraded.
    """
    groups = settings.model_dump(mode="json", exclude={"home", "api", "access", "admission", "cache", "log"})
    # Without a Milvus server the catalogue is this machine's own, below its home.
    place = f"{socket.gethostname()}:{settings.home.absolute()}" if settings.milvus.uri is None else ""
    return digest("setup", place, repr(sorted(groups.items())), repr(embedding_set), release, release_digest)


def _form(value: Value) -> bytes:
    match value:
        case None:
            tag, body = b"n", b""
        case bool():
            tag, body = b"?", bytes([value])
        case int():
            tag, body = b"i", str(value).encode()
        case float():
            tag, body = b"f", struct.pack(">d", value)
        case str():
            tag, body = b"s", value.encode()
        case bytes():
            tag, body = b"b", value
        case tuple():
            tag, body = b"t", b"".join(map(_form, value))
    return tag + struct.pack(">Q", len(body)) + body
