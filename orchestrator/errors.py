"""Every error a caller of the orchestrator can meet, with a stable code.

::

    SensoriumError
    +- RequestError                 request.invalid          INVALID_ARGUMENT     400
    |  +- FilterError               filter.invalid           INVALID_ARGUMENT     400
    |  +- ItemError                 item.invalid             INVALID_ARGUMENT     400
    |  +- PartError                 media.* (as refused)     INVALID_ARGUMENT     400
    |  +- TooLargeError             request.too_large        RESOURCE_EXHAUSTED   413
    +- UnauthenticatedError         auth.required            UNAUTHENTICATED      401
    |  +- CredentialError           auth.invalid             UNAUTHENTICATED      401
    +- ForbiddenError               auth.forbidden           PERMISSION_DENIED    403
    +- NotFoundError                item.not_found           NOT_FOUND            404
    +- OverloadedError              server.overloaded        RESOURCE_EXHAUSTED   429
    |  +- RateLimitError            auth.rate                RESOURCE_EXHAUSTED   429
    +- ShuttingDownError            server.stopping          UNAVAILABLE          503
    +- DeadlineError                request.deadline         DEADLINE_EXCEEDED    504
    +- DependencyError              dependency.failed        UNAVAILABLE          503
    |  +- UnavailableError          dependency.unavailable   UNAVAILABLE          503
    |  |  +- CircuitOpenError       dependency.circuit_open  UNAVAILABLE          503
    |  +- DependencyDeadlineError   dependency.deadline      DEADLINE_EXCEEDED    504
    |  +- ProtocolError             dependency.protocol      INTERNAL             500
    +- ConfigurationError           config.invalid           FAILED_PRECONDITION  500
    |  +- SchemaMismatchError       config.schema            FAILED_PRECONDITION  500
    +- InternalError                internal                 INTERNAL             500

``part`` is the index of the query part (or of the media of an item) at fault. Messages are written for the
caller: they hold no content of the request and no text of a foreign exception; that stands in ``__cause__``
and in the log.
"""

from __future__ import annotations

from typing import ClassVar

import grpc

from media import MediaError

__all__ = [
    "CircuitOpenError",
    "ConfigurationError",
    "CredentialError",
    "DeadlineError",
    "DependencyDeadlineError",
    "DependencyError",
    "FilterError",
    "ForbiddenError",
    "InternalError",
    "ItemError",
    "NotFoundError",
    "OverloadedError",
    "PartError",
    "ProtocolError",
    "RateLimitError",
    "RequestError",
    "SchemaMismatchError",
    "SensoriumError",
    "ShuttingDownError",
    "TooLargeError",
    "UnauthenticatedError",
    "UnavailableError",
]


class SensoriumError(Exception):
    """Base of all.

    ``kind`` is what the content was found to be, ``limit`` the limit passed ("max_bytes=26214400").
    """

    code: str = "internal"
    grpc_status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, part: int | None = None, kind: str = "", limit: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.part = part
        self.kind = kind
        self.limit = limit


class RequestError(SensoriumError):
    """The request as such cannot be answered."""

    code = "request.invalid"
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400


class FilterError(RequestError):
    """A filter is empty, too deep, too large, or compares with something that is not a number."""

    code = "filter.invalid"


class ItemError(RequestError):
    """A field of an item is not acceptable."""

    code = "item.invalid"


class PartError(RequestError):
    """The content of one part was refused by ``media``, whose ``code`` it keeps ("media.too_large")."""

    code = "media.invalid"

    def __init__(
        self, code: str, message: str, *, part: int | None = None, kind: str = "", limit: str = ""
    ) -> None:
        super().__init__(message, part=part, kind=kind, limit=limit)
        self.code = code

    @classmethod
    def of(cls, error: MediaError, part: int | None = None) -> PartError:
        """The media error as an error of part ``part``; raise it ``from`` the former."""
        return cls(error.code, error.message, part=part, kind=error.kind, limit=error.limit)

    def at(self, part: int) -> PartError:
        """The same error, named as part ``part``'s."""
        return PartError(self.code, self.message, part=part, kind=self.kind, limit=self.limit)


class TooLargeError(RequestError):
    """The request has too many bytes or parts."""

    code = "request.too_large"
    grpc_status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 413


class UnauthenticatedError(SensoriumError):
    """The call needs a credential and came without one."""

    code = "auth.required"
    grpc_status = grpc.StatusCode.UNAUTHENTICATED
    http_status = 401


class CredentialError(UnauthenticatedError):
    """The credential is not one of ours, or not any more. Why, the message does not say."""

    code = "auth.invalid"


class ForbiddenError(SensoriumError):
    """The credential is good, but not for this."""

    code = "auth.forbidden"
    grpc_status = grpc.StatusCode.PERMISSION_DENIED
    http_status = 403


class NotFoundError(SensoriumError):
    """No such item, media or thumbnail."""

    code = "item.not_found"
    grpc_status = grpc.StatusCode.NOT_FOUND
    http_status = 404


class OverloadedError(SensoriumError):
    """More is asked than can be answered in time; try again after ``retry_after_s`` seconds.

    ``kind`` is the modality whose queue it was for, as far as that is known.
    """

    code = "server.overloaded"
    grpc_status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429

    def __init__(self, message: str, *, kind: str = "", limit: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, kind=kind, limit=limit)
        self.retry_after_s = retry_after_s


class RateLimitError(OverloadedError):
    """This caller has asked too often; others have not."""

    code = "auth.rate"


class ShuttingDownError(SensoriumError):
    """The server takes no new request because it is stopping."""

    code = "server.stopping"
    grpc_status = grpc.StatusCode.UNAVAILABLE
    http_status = 503


class DeadlineError(SensoriumError):
    """The caller's deadline, or the server's own for a request, passed before there was an answer."""

    code = "request.deadline"
    grpc_status = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504


class DependencyError(SensoriumError):
    """Triton, Milvus or the item store failed. ``dependency`` names it ("triton")."""

    code = "dependency.failed"
    grpc_status = grpc.StatusCode.UNAVAILABLE
    http_status = 503

    def __init__(self, dependency: str, message: str, *, part: int | None = None) -> None:
        super().__init__(message, part=part, kind=dependency)
        self.dependency = dependency


class UnavailableError(DependencyError):
    """It cannot be reached, is overloaded or is not ready; a later try may succeed."""

    code = "dependency.unavailable"


class CircuitOpenError(UnavailableError):
    """It failed repeatedly and is not asked at all; it will be again after ``retry_after_s`` seconds."""

    code = "dependency.circuit_open"

    def __init__(self, dependency: str, message: str, *, retry_after_s: float) -> None:
        super().__init__(dependency, message)
        self.retry_after_s = retry_after_s


class DependencyDeadlineError(DependencyError):
    """It did not answer within its budget."""

    code = "dependency.deadline"
    grpc_status = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504


class ProtocolError(DependencyError):
    """It answered with something that its contract does not allow; trying again does not help."""

    code = "dependency.protocol"
    grpc_status = grpc.StatusCode.INTERNAL
    http_status = 500


class ConfigurationError(SensoriumError):
    """Settings or artifacts do not fit; raised at start-up."""

    code = "config.invalid"
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class SchemaMismatchError(ConfigurationError):
    """A stored schema is not the one the profile asks for. The message says how to migrate."""

    code = "config.schema"


class InternalError(SensoriumError):
    """A defect of ours. The caller sees the request id, the log the cause."""
