"""What content is, from its bytes alone: names and claimed types are never asked for.

Two ways, the cheap one first: signatures that are exact (microseconds), then Magika's model (about 10 ms;
Fratantonio et al., "Magika: AI-Powered Content-Type Detection", ICSE 2025), which also tells text from
binary. Containers that may hold sound alone are opened to see whether there is a picture in them.
"""

from __future__ import annotations

import re
import threading
from functools import cache
from typing import TYPE_CHECKING

from media.blocks import id3_end
from media.errors import EncryptedError, MediaError, UnsupportedError
from media.limits import Limits, check_size
from media.types import Kind, Modality

if TYPE_CHECKING:
    from magika import Magika

__all__ = ["TEXT", "kind_of", "sniff"]

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

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}

_loading = threading.Lock()


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
        from media.frame_times import is_animated

        return _VIDEOS[name] if is_animated(data, name) else _IMAGES[name]
    if name in _MAYBE_SOUND:
        return _with_or_without_pictures(data, name, limits)
    for kinds in (_IMAGES, _SOUNDS, _VIDEOS):
        if name in kinds:
            return kinds[name]
    raise UnsupportedError(f"{name} content is not supported", kind=name)


def kind_of(modality: Modality, format: str) -> Kind:
    """The kind that `sniff` once gave, from what was kept of it. KeyError for one that it never gives."""
    if modality is Modality.TEXT:
        return {"text": TEXT}[format]
    return {Modality.IMAGE: _IMAGES, Modality.AUDIO: _SOUNDS, Modality.VIDEO: _VIDEOS}[modality][format]


def _signature(data: bytes) -> str:
    """The name of an unambiguous signature, or ""; encrypted archives and documents are refused here."""
    head = data[:18]
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
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0" and head[14:18] in _BMP_HEADERS:
        return "bmp"
    if _is_mp3(data):
        return "mp3"
    if head.startswith(b"\xd0\xcf\x11\xe0") and "EncryptedPackage".encode("utf-16-le") in data:
        raise EncryptedError(kind="office")
    if head.startswith(b"PK\x03\x04"):
        if len(data) > 6 and data[6] & 1:
            raise EncryptedError(kind="zip")
        return "zip"
    if head.startswith(b"%PDF-"):
        if b"/Encrypt" in data:
            raise EncryptedError(kind="pdf")
        return "pdf"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        from media.svg import is_svg

        return "svg" if is_svg(data) else ""
    return ""


_MP3_KBPS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG-1, layer III
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG-2 and 2.5
)
_MP3_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _is_mp3(data: bytes) -> bool:
    """Two headers of layer III frames, one frame apart, at the start or after an ID3v2 tag."""
    at = id3_end(data)
    length = _mp3_frame_bytes(data[at : at + 4])
    return length > 0 and _mp3_frame_bytes(data[at + length : at + length + 4]) > 0


def _mp3_frame_bytes(header: bytes) -> int:
    """The length of the layer III frame (ISO/IEC 11172-3, 13818-3) with this header; 0 for no such header."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bits = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version not in _MP3_HZ or rate == 3 or bits in {0, 15}:
        return 0
    mpeg1 = version == 3
    kbps = _MP3_KBPS[0 if mpeg1 else 1][bits]
    return (144 if mpeg1 else 72) * kbps * 1000 // _MP3_HZ[version][rate] + (header[2] >> 1 & 1)


@cache
def _load_magika() -> Magika:
    from magika import Magika

    return Magika()


def _ask_magika(data: bytes) -> str:
    with _loading:
        magika = _load_magika()
    output = magika.identify_bytes(data).output
    label = str(output.label)
    if label == "svg":
        return label
    if output.is_text or _is_clean_text(data):
        return "text"
    return _LABELS.get(label, label)


def _is_clean_text(data: bytes) -> bool:
    """UTF-8 without control characters is text, whatever a short or monotonous one reminds the model of."""
    try:
        return not _CONTROLS.search(data.decode())
    except UnicodeDecodeError:
        return False


def _with_or_without_pictures(data: bytes, name: str, limits: Limits) -> Kind:
    from media.containers import has_pictures

    kind = _VIDEOS[name]
    try:
        return kind if has_pictures(data, kind, limits) else _SOUNDS[_MAYBE_SOUND[name]]
    except MediaError:
        return kind  # decoding will say what is wrong with it
