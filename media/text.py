"""Text: UTF-8, NFC, no control characters."""

from __future__ import annotations

import re
import unicodedata

from media.errors import EmptyError, NotUtf8Error, TextTooLongError
from media.limits import Limits

__all__ = ["decode_text"]

# Unicode's Stream-Safe Text Format (UAX #15, section 13) allows 30 combining marks in a row. Longer runs mean
# nothing in any script, and sorting them makes normalisation quadratic.
_MAX_MARKS = 30
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


def decode_text(data: bytes | str, limits: Limits) -> str:
    """Text in NFC with "\\n" line ends, control characters made spaces, and no white space around it.

    Raises NotUtf8Error (also for lone surrogates), TextTooLongError (max_text_bytes of UTF-8), EmptyError.
    Tokens are counted by whoever has the tokenizer (`token_bucket`).
    """
    too_long = TextTooLongError(kind="text", limit=f"max_text_bytes={limits.max_text_bytes}")
    if len(data) > limits.max_text_bytes:
        raise too_long
    try:
        if isinstance(data, str):
            data.encode()
            text = data
        else:
            text = data.decode("utf-8-sig")
    except UnicodeError as error:
        raise NotUtf8Error(kind="text") from error
    text = _CONTROLS.sub(" ", _LINE_ENDS.sub("\n", text.removeprefix("\ufeff")))
    if not text.isascii():
        text = unicodedata.normalize("NFC", _limit_marks(text))
    text = text.strip()
    if not text:
        raise EmptyError(kind="text")
    if len(text.encode()) > limits.max_text_bytes:  # normalisation may lengthen it
        raise too_long
    return text


def _limit_marks(text: str) -> str:
    kept: list[str] = []
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)
