"""The canary: a small real request for each public model, different every time, so that no cache answers it.

An input of bytes is made by its name: a short text, a PNG, a second of sound, a short clip. An input of
numbers (the re-ranker has nothing else) is filled to its shape: any numbers make a graph compute.
"""

from __future__ import annotations

import functools
import io
import itertools
import struct
import wave
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["CANARY_INPUTS", "NUMBER_TYPES", "canary_bytes", "canary_numbers", "check_outputs"]

_SIZE_PX = 32
_RATE_HZ = 16_000
_CLIP_FRAMES = 10
_NORM_TOLERANCE = 1e-2

_numbers = itertools.count()

NUMBER_TYPES = ("FP32", "INT64")


def canary_bytes(input_name: str) -> bytes:
    """New content for the input `text`, `image`, `audio` or `video`. KeyError for any other."""
    return CANARY_INPUTS[input_name](next(_numbers))


def canary_numbers(datatype: str, shape: Sequence[int]) -> npt.NDArray[np.generic]:
    """New content for an input of one of `NUMBER_TYPES`, the batch dimension in front.

    One row; every other free axis has the size 2, so axes that must agree do. Whole numbers are ones, which
    are in the range of whatever they index.
    """
    sizes = [1 if place == 0 else 2 if size < 0 else size for place, size in enumerate(shape)]
    if datatype == "INT64":
        return np.ones(sizes, np.int64)
    return np.random.default_rng(next(_numbers)).random(sizes, np.float32)


def check_outputs(outputs: Mapping[str, npt.NDArray[np.generic]]) -> str:
    """What is wrong with a canary's answer, or "": numbers are finite, embeddings have unit norm."""
    for name, array in outputs.items():
        if not np.issubdtype(array.dtype, np.floating):
            continue
        if not np.all(np.isfinite(array)):
            return f"output {name} has values that are not finite"
        if name in ("embedding", "native"):
            norm = float(np.linalg.norm(array.astype(np.float64)))
            if abs(norm - 1.0) > _NORM_TOLERANCE:
                return f"output {name} has norm {norm:.4f}, not 1"
    return ""


def _text(number: int) -> bytes:
    return f"canary {number}".encode()


def _png(number: int) -> bytes:
    """A square of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = struct.pack(">I", (number * 40503) & 0xFFFFFF)[1:]
    rows = (b"\0" + colour * _SIZE_PX) * _SIZE_PX
    header = struct.pack(">IIBBBBB", _SIZE_PX, _SIZE_PX, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _wav(number: int) -> bytes:
    """One second of a tone in noise."""
    time_s = np.arange(_RATE_HZ) / _RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * (200 + number % 600) * time_s)
    noise = np.random.default_rng(number).normal(0, 0.01, _RATE_HZ)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE_HZ)
        sound.writeframes((np.clip(tone + noise, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


@functools.cache
def _clip() -> bytes:
    """A second of MP4 (MPEG-4 part 2, which every build of FFmpeg has): a square that moves."""
    import av  # heavy, and needed once

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=_CLIP_FRAMES)
        stream.width = stream.height = 2 * _SIZE_PX
        stream.pix_fmt = "yuv420p"
        for index in range(_CLIP_FRAMES):
            picture = np.full((2 * _SIZE_PX, 2 * _SIZE_PX, 3), 255, np.uint8)
            picture[16:48, 4 * index : 4 * index + 16] = (200, 30, 30)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _mp4(number: int) -> bytes:
    """The clip with a number in a `free` box, which every reader skips."""
    return _clip() + struct.pack(">I4sQ", 16, b"free", number)


CANARY_INPUTS: Mapping[str, Callable[[int], bytes]] = {
    "text": _text,
    "image": _png,
    "audio": _wav,
    "video": _mp4,
}
