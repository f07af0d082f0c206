"""Messages and errors as HTTP answers, in the protobuf JSON mapping."""

from __future__ import annotations

import math

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from starlette.responses import Response

from orchestrator.errors import CircuitOpenError, OverloadedError, SensoriumError, UnauthenticatedError
from orchestrator.wire import error_message
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["error_response", "message_response", "plain_error"]

_JSON = "application/json"


def message_response(message: Message) -> Response:
    """``message`` as JSON; fields that hold their default are left out, as the mapping has it."""
    return Response(
        MessageToJson(message, indent=None), media_type=_JSON, headers={"cache-control": "no-store"}
    )


def error_response(error: SensoriumError) -> Response:
    """``{"error": <Error>}`` with the error's status; ``retry-after`` (whole seconds) where it has one."""
    headers = {"cache-control": "no-store"}
    if isinstance(error, OverloadedError | CircuitOpenError):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, UnauthenticatedError):
        headers["www-authenticate"] = "Bearer"
    return Response(
        f'{{"error":{MessageToJson(error_message(error), indent=None)}}}',
        error.http_status,
        media_type=_JSON,
        headers=headers,
    )


def plain_error(code: str, message: str, status: int) -> Response:
    """An error of HTTP itself, such as a path that does not exist, in the same shape."""
    error = MessageToJson(pb.Error(code=code, message=message), indent=None)
    return Response(f'{{"error":{error}}}', status, media_type=_JSON)
