"""What content is, from its bytes alone: names and claimed types are never asked for.

Two ways, the cheap one first: signatures that are exact (a few microseconds), then Magika's model (about 10 ms;
Fratantonio et al., "Magika: AI-Powered Content-Type Detection", ICSE 2025), which also tells text from binary.
Containers that may hold sound alone are opened to see whether there is a picture in them.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from media.errors import EncryptedError, MediaError, UnsupportedError
from media.limits import Limits, check_size
from media.types import Kind, Modality

if TYPE_CHECKING:
    from magika import Magika

__all__ = ["TEXT", "sniff"]

TEXT = Kind(Modality.TEXT, "text", "text/plain")
_IMAGES = {
    name: Kind(Modality.IMAGE, name, mime)
    for name, mime in {
        "jpeg": "image/jpeg",
        "png": "image/png",
        "webp": "image/webp",
        "gif": "image/gif",
        "bmp": "image/bmp",
        "tiff": "image/tiff",
        "svg": "image/svg+xml",
    }.items()
}
_SOUNDS = {
    name: Kind(Modality.AUDIO, name, mime)
    for name, mime in {
        "wav": "audio/wav",
        "flac": "audio/flac",
        "ogg": "audio/ogg",
        "mp3": "audio/mpeg",
        "m4a": "audio/mp4",
        "webm": "audio/webm",
        "mkv": "audio/x-matroska",
    }.items()
}
_VIDEOS = {
    name: Kind(Modality.VIDEO, name, mime)
    for name, mime in {
        "mp4": "video/mp4",
        "mov": "video/quicktime",
        "webm": "video/webm",
        "mkv": "video/x-matroska",
        "avi": "video/x-msvideo",
        "ogg": "video/ogg",
        "gif": "image/gif",
        "webp": "image/webp",
        "png": "image/apng",
    }.items()
}
_MAYBE_ANIMATED = {"gif", "webp", "png"}
_MAYBE_SOUND = {"mp4": "m4a", "mov": "m4a", "webm": "webm", "mkv": "mkv", "ogg": "ogg"}
# Magika's labels that differ from our format names.
_LABELS = {"qt": "mov", "3gp": "mp4"}
_STILL_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"jxl "}

_lock = threading.Lock()


def sniff(data: bytes, limits: Limits) -> Kind:
    """The kind of `data`: any text is "text"; an animated GIF, WebP or PNG is a video.

    Raises EmptyError, TooLargeError, EncryptedError, UnsupportedError (`kind` then says what it was).
    The content may still turn out to be damaged when it is decoded.
    """
    check_size(data, limits)
    name = _signature(data) or _ask_magika(data)
    if name == "text":
        return TEXT
    if name in _MAYBE_ANIMATED:
        from media.animation import is_animated

        return _VIDEOS[name] if is_animated(data, name) else _IMAGES[name]
    if name in _MAYBE_SOUND:
        return _with_or_without_pictures(data, name, limits)
    for kinds in (_IMAGES, _SOUNDS, _VIDEOS):
        if name in kinds:
            return kinds[name]
    raise UnsupportedError(f"{name} content is not supported", kind=name)


def _signature(data: bytes) -> str:
    """The name of an unambiguous signature, or ""; encrypted archives and documents are refused here."""
    head = data[:16]
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF"):
        return {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}.get(head[8:12], "")
    if head.startswith((b"II*\0", b"MM\0*")):
        return "tiff"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"OggS\0"):
        return "ogg"
    if head[4:8] == b"ftyp":
        if head[8:12] in _STILL_BRANDS:
            return head[8:12].decode().strip()
        return "mov" if head[8:12] == b"qt  " else "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in data[:64] else "mkv"
    if head.startswith(b"\x1f\x8b"):
        from media.svg import is_gzipped_svg

        return "svg" if is_gzipped_svg(data) else "gzip"
    if head.startswith(b"PK\x03\x04"):
        if data[6] & 1:
            raise EncryptedError(kind="zip")
        return "zip"
    if head.startswith(b"%PDF-"):
        if b"/Encrypt" in data:
            raise EncryptedError(kind="pdf")
        return "pdf"
    return ""


@cache
def _magika() -> Magika:
    from magika import Magika

    return Magika()


def _ask_magika(data: bytes) -> str:
    with _lock:  # one load; calls are short
        result = _magika().identify_bytes(data)
    label = str(result.output.label)
    if label == "svg":
        return "svg"
    if result.output.is_text:
        return "text"
    return _LABELS.get(label, label)


def _with_or_without_pictures(data: bytes, name: str, limits: Limits) -> Kind:
    from media.containers import has_pictures

    kind = _VIDEOS[name]
    try:
        return kind if has_pictures(data, kind, limits) else _SOUNDS[_MAYBE_SOUND[name]]
    except MediaError:
        return kind  # decoding will say what is wrong with it
