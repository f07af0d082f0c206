"""Bytes to arrays: what content is, whether it may be used, and what it holds.

Everything is found from the bytes alone; every bound is in `Limits`; every refusal is a `MediaError`.
Importing this package loads none of the decoders: each is loaded when a function that needs it is first asked
for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from media.errors import (
    BombError,
    CorruptError,
    DeadlineError,
    EmptyError,
    EncryptedError,
    ExternalReferenceError,
    MediaError,
    NotUtf8Error,
    TextError,
    TextTooLongError,
    TooLargeError,
    TooLongError,
    TooManyFramesError,
    TooManyPixelsError,
    TruncatedError,
    UnsupportedError,
)
from media.inputs import (
    AUDIO_BUCKETS_S,
    IMAGE_SIZE_PX,
    TOKEN_BUCKETS,
    VIDEO_FRAMES,
    audio_input,
    image_input,
    token_bucket,
    video_input,
)
from media.limits import Limits
from media.types import SAMPLE_RATE_HZ, Audio, Kind, Modality, Probe, Segment, Video

if TYPE_CHECKING:
    from media.audio import decode_audio
    from media.cutting import segments
    from media.image import decode_image
    from media.probing import probe
    from media.sniffing import kind_of, sniff
    from media.text import decode_text
    from media.thumbnails import thumbnail
    from media.video import decode_video

__all__ = [
    "AUDIO_BUCKETS_S",
    "IMAGE_SIZE_PX",
    "SAMPLE_RATE_HZ",
    "TOKEN_BUCKETS",
    "VIDEO_FRAMES",
    "Audio",
    "BombError",
    "CorruptError",
    "DeadlineError",
    "EmptyError",
    "EncryptedError",
    "ExternalReferenceError",
    "Kind",
    "Limits",
    "MediaError",
    "Modality",
    "NotUtf8Error",
    "Probe",
    "Segment",
    "TextError",
    "TextTooLongError",
    "TooLargeError",
    "TooLongError",
    "TooManyFramesError",
    "TooManyPixelsError",
    "TruncatedError",
    "UnsupportedError",
    "Video",
    "audio_input",
    "decode_audio",
    "decode_image",
    "decode_text",
    "decode_video",
    "image_input",
    "kind_of",
    "probe",
    "segments",
    "sniff",
    "thumbnail",
    "token_bucket",
    "video_input",
]

_LAZY = {
    "decode_audio": "audio",
    "decode_image": "image",
    "decode_text": "text",
    "decode_video": "video",
    "kind_of": "sniffing",
    "probe": "probing",
    "segments": "cutting",
    "sniff": "sniffing",
    "thumbnail": "thumbnails",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
