"""Why a piece of content was refused.

    MediaError
    ├── EmptyError               media.empty               no bytes, or nothing in them
    ├── TooLargeError            media.too_large           more bytes than allowed
    ├── UnsupportedError         media.unsupported         a kind or codec that is not read
    ├── EncryptedError           media.encrypted           needs a password or a key
    ├── CorruptError             media.corrupt             breaks the rules of its own format
    │   └── TruncatedError       media.truncated           ends before its own header says so
    ├── BombError                media.bomb                expands out of all proportion
    ├── ExternalReferenceError   media.external_reference  asks for another file or address
    ├── TooManyPixelsError       media.too_many_pixels     picture or frame too big
    ├── TooManyFramesError       media.too_many_frames     too many frames
    ├── TooLongError             media.too_long            too many seconds
    ├── DeadlineError            media.deadline            decoding took too long
    └── TextError                text.invalid
        ├── NotUtf8Error         text.not_utf8             not UTF-8, or lone surrogates
        └── TextTooLongError     text.too_long             more bytes or tokens than allowed

Codes are stable: clients switch on them. Messages are for people and never quote the content itself.
"""

from __future__ import annotations

import json
from typing import ClassVar

__all__ = [
    "BombError",
    "CorruptError",
    "DeadlineError",
    "EmptyError",
    "EncryptedError",
    "ExternalReferenceError",
    "MediaError",
    "NotUtf8Error",
    "TextError",
    "TextTooLongError",
    "TooLargeError",
    "TooLongError",
    "TooManyFramesError",
    "TooManyPixelsError",
    "TruncatedError",
    "UnsupportedError",
]


class MediaError(Exception):
    """Content that cannot be used.

    `code` is stable, `kind` names what the content was found to be ("png", "zip", "" when nothing was
    recognised) and `limit` the limit that was passed ("max_bytes=26214400", "" when it was no limit).
    """

    code: ClassVar[str] = "media.error"
    default_message: ClassVar[str] = "the content cannot be used"

    def __init__(self, message: str = "", *, kind: str = "", limit: str = "") -> None:
        self.message = message or self.default_message
        self.kind = kind
        self.limit = limit
        super().__init__(self.message)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments are not in `args`: without this an error changes on its way between processes.
        return (_rebuild, (type(self), self.message, self.kind, self.limit))

    def to_json(self) -> str:
        """The error as one JSON object, the text of the Triton decoders' errors."""
        fields = {"code": self.code, "message": self.message, "kind": self.kind, "limit": self.limit}
        return json.dumps(fields)

    @staticmethod
    def from_json(text: str | bytes) -> MediaError:
        """The error that `to_json` wrote; ValueError when `text` is anything else."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.get("code") not in _BY_CODE:
            raise ValueError("not a media error")
        message, kind, limit = (fields.get(name, "") for name in ("message", "kind", "limit"))
        if not (isinstance(message, str) and isinstance(kind, str) and isinstance(limit, str)):
            raise ValueError("not a media error")
        return _BY_CODE[fields["code"]](message, kind=kind, limit=limit)


def _rebuild(cls: type[MediaError], message: str, kind: str, limit: str) -> MediaError:
    return cls(message, kind=kind, limit=limit)


class EmptyError(MediaError):
    code = "media.empty"
    default_message = "the content is empty"


class TooLargeError(MediaError):
    code = "media.too_large"
    default_message = "the file is too large"


class UnsupportedError(MediaError):
    code = "media.unsupported"
    default_message = "this kind of content is not supported"


class EncryptedError(MediaError):
    code = "media.encrypted"
    default_message = "the content is encrypted"


class CorruptError(MediaError):
    code = "media.corrupt"
    default_message = "the file is damaged"


class TruncatedError(CorruptError):
    code = "media.truncated"
    default_message = "the file ends too early"


class BombError(MediaError):
    code = "media.bomb"
    default_message = "the file expands out of all proportion"


class ExternalReferenceError(MediaError):
    code = "media.external_reference"
    default_message = "the file refers to another file or address, which is never followed"


class TooManyPixelsError(MediaError):
    code = "media.too_many_pixels"
    default_message = "the picture has too many pixels"


class TooManyFramesError(MediaError):
    code = "media.too_many_frames"
    default_message = "the video has too many frames"


class TooLongError(MediaError):
    code = "media.too_long"
    default_message = "the recording is too long"


class DeadlineError(MediaError):
    code = "media.deadline"
    default_message = "decoding took too long"


class TextError(MediaError):
    code = "text.invalid"
    default_message = "the text cannot be used"


class NotUtf8Error(TextError):
    code = "text.not_utf8"
    default_message = "the text is not UTF-8"


class TextTooLongError(TextError):
    code = "text.too_long"
    default_message = "the text is too long"


def _tree(cls: type[MediaError]) -> list[type[MediaError]]:
    return [cls, *(leaf for child in cls.__subclasses__() for leaf in _tree(child))]


_BY_CODE = {cls.code: cls for cls in _tree(MediaError)}
