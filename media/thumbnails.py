"""Small WebP pictures to show what a file holds."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

from media.errors import UnsupportedError
from media.limits import Limits
from media.types import Audio, Kind, Modality

__all__ = ["thumbnail"]

_QUALITY = 80
_INK = (90, 90, 110)


def thumbnail(data: bytes, kind: Kind, limits: Limits, size_px: int = 256) -> bytes:
    """A WebP of at most size_px each way: the picture, the frame from the middle, or the wave of a sound.

    Raises what decoding raises, and UnsupportedError for text.
    """
    if kind.modality is Modality.TEXT:
        raise UnsupportedError("text has no picture", kind=kind.format)
    if kind.modality is Modality.AUDIO:
        from media.audio import decode_audio

        image = _wave(decode_audio(data, limits, kind), size_px)
    elif kind.modality is Modality.VIDEO:
        from media.video import decode_video

        image = Image.fromarray(decode_video(data, limits, kind, frames=1, sound_s=0).frames[0])
    else:
        from media.image import decode_image

        image = Image.fromarray(decode_image(data, limits, kind))
    image.thumbnail((size_px, size_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()


def _wave(audio: Audio, size_px: int) -> Image.Image:
    """Peak amplitude in time, as bars over the middle line, on white; half as high as it is wide."""
    height = size_px // 2
    image = Image.new("RGB", (size_px, height), "white")
    draw = ImageDraw.Draw(image)
    bars = np.array_split(np.abs(audio.samples), max(1, size_px // 4))
    for index, bar in enumerate(bars):
        half = max(1, round((float(bar.max()) if bar.size else 0.0) * (height // 2 - 2)))
        draw.rectangle((index * 4, height // 2 - half, index * 4 + 2, height // 2 + half), fill=_INK)
    return image
