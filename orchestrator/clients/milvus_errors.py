"""Every exception of pymilvus and of the gRPC below it, as an error of ours.

::

    TimeoutError, DEADLINE_EXCEEDED                      -> DependencyDeadlineError
    UNAVAILABLE, connection and rate-limit errors        -> UnavailableError
    a collection, partition, field or index that is gone -> SchemaMismatchError
    a request that Milvus or its client does not accept  -> ProtocolError
    anything else that Milvus answers with               -> DependencyError

Only types and status codes are looked at, never texts: texts change, and may repeat a filter, which is user
content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import grpc
from pymilvus import exceptions as px

from orchestrator.errors import (
    DependencyDeadlineError,
    DependencyError,
    ProtocolError,
    SchemaMismatchError,
    SensoriumError,
    UnavailableError,
)

__all__ = ["FOREIGN", "NAME", "translate", "translated"]

NAME: Final = "milvus"

_UNAVAILABLE = (
    px.ConnectError,
    px.ConnectionNotExistException,
    px.MilvusUnavailableException,
)
_SCHEMA = (
    px.AmbiguousIndexName,
    px.CollectionNotExistException,
    px.DescribeCollectionException,
    px.IndexNotExistException,
    px.SchemaMismatchRetryableException,
    px.SchemaNotReadyException,
    px.ServerVersionIncompatibleException,
)
_PROTOCOL = (
    px.AutoIDException,
    px.CannotInferSchemaException,
    px.ClusteringKeyException,
    px.ConnectionConfigException,
    px.DataNotMatchException,
    px.DataTypeNotMatchException,
    px.DataTypeNotSupportException,
    px.FieldTypeException,
    px.FieldsTypeException,
    px.FunctionsTypeException,
    px.InvalidConsistencyLevel,
    px.ParamError,
    px.PartitionAlreadyExistException,
    px.PartitionKeyException,
    px.PrimaryKeyException,
)

FOREIGN: Final[Mapping[type[px.MilvusException], type[SensoriumError]]] = {
    **dict.fromkeys(_UNAVAILABLE, UnavailableError),
    **dict.fromkeys(_SCHEMA, SchemaMismatchError),
    **dict.fromkeys(_PROTOCOL, ProtocolError),
}
"""Each subclass of ``MilvusException``; the base class itself is judged by its code."""

_STATUS: Final[Mapping[grpc.StatusCode, type[DependencyError]]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: DependencyDeadlineError,
    grpc.StatusCode.CANCELLED: UnavailableError,  # the server shut the stream down
    grpc.StatusCode.RESOURCE_EXHAUSTED: UnavailableError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.INVALID_ARGUMENT: ProtocolError,
    grpc.StatusCode.UNIMPLEMENTED: ProtocolError,
}

# The server's own codes (pkg/util/merr of Milvus 2.3): unavailable (in pymilvus: cannot connect), out of
# memory, too many requests, rate limited, denied (read-only for lack of room).
_BUSY_CODES: Final = frozenset({2, 3, 4, 8, 9})
# Collection or partition not found, or not loaded; index not found.
_SCHEMA_CODES: Final = frozenset({100, 101, 102, 200, 201, 202, 700})
# Parameter missing or invalid (1100 to 1105), a field of a request (1700 to 1702).
_PROTOCOL_CODES: Final = frozenset({*range(1100, 1106), *range(1700, 1703)})


def translate(error: Exception, operation: str) -> SensoriumError:
    """``error`` as one of ours; ``operation`` ("search") is named in the message. Raise it ``from error``."""
    kind = _kind(error)
    if kind is SchemaMismatchError:
        return SchemaMismatchError(
            f"Milvus lacks a collection or index that {operation} needs; a restart creates what is missing"
        )
    return kind(NAME, f"Milvus: {operation} {_REASONS[kind]}")  # type: ignore[arg-type, call-arg]


_REASONS: Final[Mapping[type[SensoriumError], str]] = {
    DependencyDeadlineError: "did not end within its deadline",
    UnavailableError: "found the server not reachable or not ready",
    ProtocolError: "was not accepted",
    DependencyError: "failed",
}


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Raises what comes out of pymilvus as an error of ours."""
    try:
        yield
    except SensoriumError:
        raise
    # pymilvus checks arguments with plain TypeError and ValueError as well as with its own tree, and lets
    # grpc.RpcError through where it does not retry.
    except (px.MilvusException, grpc.RpcError, TimeoutError, OSError, TypeError, ValueError) as error:
        raise translate(error, operation) from error


def _kind(error: BaseException) -> type[SensoriumError]:
    if isinstance(error, TimeoutError):
        return DependencyDeadlineError
    if isinstance(error, grpc.RpcError):
        # grpc.RpcError declares no code(); every error of a call is a grpc.Call, which has one.
        return (
            _STATUS.get(error.code(), DependencyError)
            if isinstance(error, grpc.Call | grpc.aio.AioRpcError)
            else DependencyError
        )
    if isinstance(error, OSError):
        return UnavailableError
    if isinstance(error, px.MilvusException):
        return _milvus_kind(error)
    return ProtocolError


def _milvus_kind(error: px.MilvusException) -> type[SensoriumError]:
    for cls in type(error).__mro__:
        if cls in FOREIGN:
            return FOREIGN[cls]
    # pymilvus wraps a gRPC failure that it has retried, with the gRPC status in the place of its own code, or
    # as the cause of an error without one.
    if isinstance(error.code, grpc.StatusCode):
        return _STATUS.get(error.code, DependencyError)
    if error.code in _SCHEMA_CODES:
        return SchemaMismatchError
    if error.code in _PROTOCOL_CODES or error.is_input_error:
        return ProtocolError
    if error.retriable or error.code in _BUSY_CODES:
        return UnavailableError
    if isinstance(error.__cause__, TimeoutError | grpc.RpcError):
        return _kind(error.__cause__)
    return DependencyError
