"""Bodies of requests -> messages: JSON in the protobuf mapping, or multipart with files beside the JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from orchestrator.errors import RequestError
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["read_feedback", "read_item", "read_search"]

M = TypeVar("M", bound=Message)

_MAX_FILES = 64
_MAX_FIELDS = 8
_MAX_JSON_BYTES = 1024 * 1024
"""Of the JSON field in a multipart body; files stand beside it."""
_INLINE_BYTES = 64 * 1024
"""A larger body holds base64: it is parsed in a thread."""


async def read_search(request: Request) -> pb.SearchRequest:
    """The body of ``POST /v1/search``.

    Raises:
        RequestError: it is not what the API describes.
    """
    if not _is_form(request):
        return await _parse(await request.body(), pb.SearchRequest())
    async with request.form(
        max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=_MAX_JSON_BYTES
    ) as form:
        fields = _json(_text(form, "request"))
        parts = fields.get("parts", [])
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise RequestError("parts is not a list of objects")
        names = [part.pop("file", None) for part in parts]
        message = _from_fields(fields, pb.SearchRequest())
        for index, name in enumerate(names):
            if name is None:
                continue
            if message.parts[index].WhichOneof("content") is not None:
                raise RequestError("a part has both a file and other content", part=index)
            file = form.get(name) if isinstance(name, str) else None
            if not isinstance(file, UploadFile):
                raise RequestError("a part names a file that is not in the request", part=index)
            await file.seek(0)  # another part may have named it too
            message.parts[index].data = await file.read()
        return message


async def read_item(request: Request, item_id: str) -> pb.Item:
    """The body of ``PUT /v1/items/{id}``; an id in it must be the path's.

    Raises:
        RequestError: it is not what the API describes.
    """
    if _is_form(request):
        async with request.form(
            max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=_MAX_JSON_BYTES
        ) as form:
            item = _from_fields(_json(_text(form, "item")), pb.Item())
            for file in form.getlist("media"):
                if not isinstance(file, UploadFile):
                    raise RequestError("media is not a file")
                item.media.add(data=await file.read())
    else:
        item = await _parse(await request.body(), pb.Item())
    if item.id not in ("", item_id):
        raise RequestError("the id in the body is not the id in the path")
    item.id = item_id
    return item


async def read_feedback(request: Request) -> pb.FeedbackRequest:
    """The body of ``POST /v1/feedback``.

    Raises:
        RequestError: it is not what the API describes.
    """
    return await _parse(await request.body(), pb.FeedbackRequest())


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str):
        raise RequestError(f"the form lacks the field {name}")
    return value


async def _parse(body: bytes, message: M) -> M:
    if len(body) > _INLINE_BYTES:
        return await asyncio.to_thread(lambda: _from_fields(_json(body), message))
    return _from_fields(_json(body), message)


def _json(text: str | bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is not JSON") from error
    if not isinstance(fields, dict):
        raise RequestError("the body is not a JSON object")
    return fields


def _from_fields(fields: dict[str, Any], message: M) -> M:
    try:
        return ParseDict(fields, message)
    except (ParseError, RecursionError, UnicodeError, ValueError, TypeError) as error:
        # The text names the field; it goes to the caller, whose own words it may quote, and nowhere else.
        raise RequestError(f"not a {message.DESCRIPTOR.name}: {str(error)[:300]}") from error
