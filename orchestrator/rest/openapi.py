"""The OpenAPI document, made from the protobuf descriptors, so that it cannot say anything else than they do.

The JSON mapping of protobuf: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from orchestrator.errors import (
    DeadlineError,
    DependencyError,
    InternalError,
    NotFoundError,
    OverloadedError,
    RequestError,
    TooLargeError,
)
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["describe"]

_Json = dict[str, Any]

_FD = FieldDescriptor
_SCALARS: dict[int, _Json] = {
    _FD.TYPE_STRING: {"type": "string"},
    _FD.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _FD.TYPE_BOOL: {"type": "boolean"},
    _FD.TYPE_FLOAT: {"type": "number", "format": "float"},
    _FD.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _FD.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    _FD.TYPE_UINT64: {"type": "string", "pattern": "^[0-9]+$"},
}
_ERRORS = (
    RequestError,
    NotFoundError,
    TooLargeError,
    OverloadedError,
    InternalError,
    DependencyError,
    DeadlineError,
)
_TIMEOUT: _Json = {
    "name": "Sensorium-Timeout-Ms",
    "in": "header",
    "description": "The answer is of no use after so many milliseconds.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
_RELEASE: _Json = {
    "name": "X-Sensorium-Release",
    "in": "header",
    "description": "The release that is to answer, one of those that Status names; unset: whichever is due.",
    "schema": {"type": "string"},
}


def describe(version: str) -> _Json:
    """The document for the API's ``version``."""
    item = _id_parameter()
    search_form = _form(
        "request",
        "A SearchRequest in which a part may have `file`, the name of a file in this form, in the place of "
        "`text` or `data`.",
        {"^part[0-9]+$": {"type": "string", "contentMediaType": "application/octet-stream"}},
    )
    item_form = _form("item", "An Item without media.", {})
    files: _Json = {"type": "string", "contentMediaType": "application/octet-stream"}
    item_form["properties"]["media"] = {"type": "array", "items": files}
    media = [
        item,
        {"name": "index", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}},
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sensorium", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": {
            "/v1/search": {
                "post": _operation(
                    "Search",
                    "SearchResponse",
                    parameters=[_TIMEOUT, _RELEASE],
                    body={
                        "application/json": {"schema": _ref("SearchRequest")},
                        "multipart/form-data": {"schema": search_form},
                    },
                )
            },
            "/v1/items/{id}": {
                "get": _operation("Get", "Item", parameters=[item]),
                "put": _operation(
                    "Upsert",
                    "UpsertResult",
                    parameters=[item],
                    body={
                        "application/json": {"schema": _ref("Item")},
                        "multipart/form-data": {"schema": item_form},
                    },
                ),
                "delete": _operation("Delete", "DeleteResponse", parameters=[item]),
            },
            "/v1/items/{id}/media/{index}": {
                "get": _operation(
                    "GetMedia", {"*/*": {"schema": {"type": "string", "format": "binary"}}}, parameters=media
                )
            },
            "/v1/items/{id}/thumbnail": {
                "get": _operation(
                    "GetThumbnail",
                    {"image/webp": {"schema": {"type": "string", "format": "binary"}}},
                    parameters=[item],
                )
            },
            "/v1/feedback": {
                "post": _operation(
                    "Feedback",
                    "FeedbackResponse",
                    body={"application/json": {"schema": _ref("FeedbackRequest")}},
                )
            },
            "/v1/users/{user}": {
                "delete": _operation("EraseUser", "EraseUserResponse", parameters=[_user_parameter()])
            },
            "/v1/status": {"get": _operation("GetStatus", "Status")},
            "/healthz": {"get": _operation("Liveness", _state("alive"))},
            "/readyz": {"get": _operation("Readiness", _state("ready", "not ready"))},
            "/metrics": {"get": _operation("Metrics", {"text/plain": {"schema": {"type": "string"}}})},
        },
        "components": {"schemas": _schemas()},
    }


def _operation(
    name: str,
    answer: str | _Json,
    parameters: list[_Json] | None = None,
    body: _Json | None = None,
) -> _Json:
    content = {"application/json": {"schema": _ref(answer)}} if isinstance(answer, str) else answer
    operation: _Json = {
        "operationId": name,
        "responses": {"200": {"description": "Done.", "content": content}, **_error_responses()},
    }
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _error_responses() -> _Json:
    schema = {"type": "object", "required": ["error"], "properties": {"error": _ref("Error")}}
    content = {"application/json": {"schema": schema}}
    responses: _Json = {
        str(error.http_status): {"description": (error.__doc__ or "").split("\n")[0], "content": content}
        for error in _ERRORS
    }
    responses[str(OverloadedError.http_status)]["headers"] = {
        "Retry-After": {"description": "In so many seconds.", "schema": {"type": "integer", "minimum": 1}}
    }
    return responses


def _state(*states: str) -> _Json:
    schema = {"type": "object", "properties": {"status": {"enum": list(states)}}}
    return {"application/json": {"schema": schema}}


def _id_parameter() -> _Json:
    schema = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
    return {"name": "id", "in": "path", "required": True, "schema": schema}


def _user_parameter() -> _Json:
    schema = {"type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$"}
    return {"name": "user", "in": "path", "required": True, "schema": schema}


def _form(field: str, says: str, files: _Json) -> _Json:
    form: _Json = {
        "type": "object",
        "required": [field],
        "properties": {
            field: {"type": "string", "contentMediaType": "application/json", "description": says}
        },
    }
    if files:
        form["patternProperties"] = files
    return form


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> _Json:
    schemas: _Json = {}

    def add(message: Descriptor) -> None:
        if not message.GetOptions().map_entry:
            schemas[message.name] = {
                "type": "object",
                "properties": {field.json_name: _field(field) for field in message.fields},
            }
        for enum in message.enum_types:
            schemas[enum.name] = _enum(enum)
        for nested in message.nested_types:
            add(nested)

    for enum in pb.DESCRIPTOR.enum_types_by_name.values():
        schemas[enum.name] = _enum(enum)
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        add(message)
    return schemas


def _enum(enum: EnumDescriptor) -> _Json:
    return {"type": "string", "enum": [value.name for value in enum.values]}


def _field(field: FieldDescriptor) -> _Json:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _single(message.fields_by_name["value"])}
    one = _single(field)
    return {"type": "array", "items": one} if field.is_repeated else one


def _single(field: FieldDescriptor) -> _Json:
    if field.message_type is not None:
        return _ref(field.message_type.name)
    if field.enum_type is not None:
        return _ref(field.enum_type.name)
    return _SCALARS[field.type]
