"""SVG to pixels, with nothing followed outside the file.

The markup is checked first (no entities, no references but to itself and to embedded data), then rendered by
resvg in a process of its own (`media.svg_worker`), which can neither open a file nor go on for ever: nested
<use> elements of a few lines can ask for any amount of work, and native code cannot be stopped from outside.
Text is drawn only with glyphs the file brings: system fonts would make pixels depend on the machine.
"""

from __future__ import annotations

import io
import re
import time
import zlib
from xml.parsers import expat

from PIL import Image

from media.errors import (
    BombError,
    CorruptError,
    ExternalReferenceError,
    MediaError,
    TooLargeError,
    TruncatedError,
    UnsupportedError,
)
from media.limits import Limits
from media.svg_process import RENDERER

__all__ = ["check_svg", "is_gzipped_svg", "is_svg", "render_svg"]

_PROLOGUE_BYTES = 64 * 1024
_LEAST_RENDER_S = 0.05
_GZIP = 31  # zlib's window bits for a gzip header
_SPACE = b" \t\r\n"
_ENCODINGS = {"utf-8", "us-ascii", "iso-8859-1", "windows-1252", "utf-16"}


def is_svg(data: bytes) -> bool:
    """True when the first element is <svg>, after a declaration, comments and a document type."""
    head = data[:_PROLOGUE_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    while head.startswith((b"<?", b"<!")):
        if head.startswith(b"<!--"):
            end = head.find(b"-->", 4) + 3
        elif head.startswith(b"<!DOCTYPE") and b"[" in head[: head.find(b">")]:
            end = head.find(b"]>") + 2
        else:
            end = head.find(b">") + 1
        if end < 4:
            return False
        head = head[end:].lstrip(_SPACE)
    return re.match(rb"<(?:svg|[A-Za-z_][\w.-]*:svg)[\s/>]", head) is not None


def is_gzipped_svg(data: bytes) -> bool:
    try:
        return is_svg(zlib.decompressobj(_GZIP).decompress(data, _PROLOGUE_BYTES))
    except zlib.error:
        return False


def render_svg(data: bytes, limits: Limits) -> Image.Image:
    """RGBA image whose longest side is svg_render_px.

    Raises TooLargeError (max_svg_bytes), BombError, UnsupportedError (entities), ExternalReferenceError,
    CorruptError, DeadlineError (svg_deadline_s of processor time, reading and rendering together).
    """
    started_s = time.thread_time()
    markup = check_svg(data, limits)
    left_s = max(_LEAST_RENDER_S, limits.svg_deadline_s - (time.thread_time() - started_s))
    png = RENDERER.render(markup, limits, left_s)
    return Image.open(io.BytesIO(png), formats=("PNG",))


def check_svg(data: bytes, limits: Limits) -> bytes:
    """The markup, plain and in UTF-8, once it is known to be harmless. Raises what `render_svg` raises."""
    if data.startswith(b"\x1f\x8b"):
        data = _gunzip(data, limits)
    if len(data) > limits.max_svg_bytes:
        raise TooLargeError(kind="svg", limit=f"max_svg_bytes={limits.max_svg_bytes}")
    # Each attribute has one. An element is read whole before the parser speaks of it.
    if data.count(b"=") > limits.max_svg_attributes:
        raise BombError(kind="svg", limit=f"max_svg_attributes={limits.max_svg_attributes}")
    encoding = _read(data, limits)
    try:
        return data.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError as error:
        raise CorruptError(kind="svg") from error


def _gunzip(data: bytes, limits: Limits) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(data, limits.max_svg_bytes + 1)
    except zlib.error as error:
        raise CorruptError(kind="svg") from error
    if len(plain) > limits.max_svg_bytes:
        raise BombError(kind="svg", limit=f"max_svg_bytes={limits.max_svg_bytes}")
    if not stream.eof:
        raise TruncatedError(kind="svg")
    return plain


def _read(data: bytes, limits: Limits) -> str:
    """Reads the markup once, without building a tree; gives its encoding."""
    encoding = "utf-8"
    elements = 0

    def declaration(version: str, declared: str | None, standalone: int) -> None:
        nonlocal encoding
        encoding = (declared or "utf-8").lower()
        if encoding not in _ENCODINGS:
            raise UnsupportedError("the text encoding is not supported", kind="svg")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal elements
        elements += 1
        if elements > limits.max_svg_elements:
            raise BombError(kind="svg", limit=f"max_svg_elements={limits.max_svg_elements}")
        if name.rpartition(":")[2] == "a":
            return  # a link: rendering does not follow it
        for attribute, value in attributes.items():
            if (
                attribute.rpartition(":")[2] == "href"
                and not value.lstrip().startswith(("#", "data:"))
                and value
            ):
                raise ExternalReferenceError(kind="svg")

    def entity(*declared: object) -> None:
        # name, is_parameter, value, base, system id, public id, notation
        if declared[2] is None:
            raise ExternalReferenceError(kind="svg")
        raise UnsupportedError("XML entities are not accepted", kind="svg")

    parser = expat.ParserCreate()
    parser.XmlDeclHandler = declaration
    parser.StartElementHandler = start
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)
    except MediaError:
        raise
    except (expat.ExpatError, ValueError) as error:
        if getattr(error, "code", 0) in {3, 5}:  # XML_ERROR_NO_ELEMENTS, XML_ERROR_UNCLOSED_TOKEN
            raise TruncatedError(kind="svg") from error
        raise CorruptError(kind="svg") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return encoding
