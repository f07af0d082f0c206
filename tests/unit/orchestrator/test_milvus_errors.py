"""No exception of pymilvus or gRPC reaches a caller as itself."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from pymilvus import exceptions as px

from orchestrator.clients.milvus_errors import FOREIGN, translate, translated
from orchestrator.errors import (
    DependencyDeadlineError,
    DependencyError,
    ProtocolError,
    SchemaMismatchError,
    SensoriumError,
    UnavailableError,
)

SECRET = "category == 'what the user typed'"


def subclasses(cls: type[px.MilvusException]) -> Iterator[type[px.MilvusException]]:
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def rpc_error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=SECRET)


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("cls", list(subclasses(px.MilvusException)), ids=lambda cls: cls.__name__)
def test_every_exception_of_pymilvus_is_mapped_on_purpose(cls: type[px.MilvusException]) -> None:
    assert cls in FOREIGN, f"pymilvus has a new exception: say in milvus_errors what {cls.__name__} means"
    error = translate(cls(message=SECRET), "search")
    assert type(error) is FOREIGN[cls]
    assert "search" in error.message
    assert SECRET not in str(error)


@pytest.mark.parametrize("status", list(grpc.StatusCode), ids=lambda status: status.name)
def test_every_grpc_status_is_mapped_alike_bare_and_wrapped(status: grpc.StatusCode) -> None:
    bare = translate(rpc_error(status), "search")
    assert isinstance(bare, DependencyError)
    assert SECRET not in str(bare)
    assert type(translate(px.MilvusException(code=status, message=SECRET), "search")) is type(bare)  # type: ignore[arg-type]
    assert type(
        translate(raised_from(px.MilvusException(message=SECRET), rpc_error(status)), "search")
    ) is type(bare)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), DependencyDeadlineError),
        (rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED), DependencyDeadlineError),
        (raised_from(px.MilvusException(message=SECRET), TimeoutError()), DependencyDeadlineError),
        (rpc_error(grpc.StatusCode.UNAVAILABLE), UnavailableError),
        (rpc_error(grpc.StatusCode.UNIMPLEMENTED), ProtocolError),
        (rpc_error(grpc.StatusCode.INTERNAL), DependencyError),
        (px.MilvusException(code=px.ErrorCode.RATE_LIMIT, message=SECRET), UnavailableError),
        (px.MilvusException(code=px.ErrorCode.FORCE_DENY, message=SECRET), UnavailableError),
        (px.MilvusException(code=2, message=SECRET), UnavailableError),
        (px.MilvusException(message=SECRET, retriable=True), UnavailableError),
        (px.MilvusException(code=px.ErrorCode.COLLECTION_NOT_FOUND, message=SECRET), SchemaMismatchError),
        (px.MilvusException(code=px.ErrorCode.INDEX_NOT_FOUND, message=SECRET), SchemaMismatchError),
        (px.MilvusException(code=1100, message=SECRET), ProtocolError),
        (px.MilvusException(message=SECRET, is_input_error=True), ProtocolError),
        (px.MilvusException(message=SECRET), DependencyError),
        (ConnectionRefusedError(SECRET), UnavailableError),
        (TypeError(SECRET), ProtocolError),
        (ValueError(SECRET), ProtocolError),
    ],
    ids=repr,
)
def test_codes_and_types_decide(error: Exception, kind: type[SensoriumError]) -> None:
    with pytest.raises(SensoriumError) as caught, translated("upsert"):
        raise error
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error
    assert SECRET not in str(caught.value)


def test_our_own_errors_pass() -> None:
    own = UnavailableError("milvus", "not started")
    with pytest.raises(UnavailableError) as caught, translated("search"):
        raise own
    assert caught.value is own


def test_defects_of_ours_are_not_dressed_up() -> None:
    with pytest.raises(AssertionError), translated("search"):
        raise AssertionError
