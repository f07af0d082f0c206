"""An item's clip as it comes back from elsewhere: a part of it, scaled, cropped, with another codec."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from media import SAMPLE_RATE_HZ, Limits, MediaError, decode_video
from queries.errors import SourceError

__all__ = ["clip"]

RATES = (8, 10, 12)


def clip(source: Path, random: np.random.Generator) -> bytes:
    """The bytes of a WebM file: VP8 and Opus.

    Raises:
        SourceError: the clip cannot be read or written again.
    """
    try:
        video = decode_video(source.read_bytes(), Limits())
    except (OSError, MediaError) as error:
        raise SourceError(f"{source.name}: {error}") from error
    length_s = video.duration_s * random.uniform(0.55, 0.85)
    start_s = random.uniform(0, video.duration_s - length_s)
    rate = RATES[int(random.integers(len(RATES)))]
    times = start_s + np.arange(max(int(length_s * rate), 1)) / rate
    shown = np.clip(np.searchsorted(video.times_s, times, side="right") - 1, 0, len(video.frames) - 1)
    pictures = _altered([video.frames[place] for place in shown], random)
    samples = None
    if video.audio is not None:
        first, last = round(start_s * SAMPLE_RATE_HZ), round((start_s + length_s) * SAMPLE_RATE_HZ)
        samples = np.ascontiguousarray(video.audio.samples[first:last] * np.float32(random.uniform(0.4, 0.9)))
    quality = int(random.integers(28, 46))
    try:
        return _webm(pictures, samples, rate, quality)
    except av.FFmpegError as error:
        raise SourceError(f"{source.name}: {error}") from error


def _altered(frames: list[NDArray[np.uint8]], random: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Every frame cropped and scaled alike, brighter or darker."""
    height, width = frames[0].shape[:2]
    left, upper = (int(random.uniform(0, 0.08) * side) for side in (width, height))
    right, lower = (side - int(random.uniform(0, 0.08) * side) for side in (width, height))
    scale = random.uniform(0.6, 0.9)
    # codecs of 4:2:0 want even sides
    size = (int(width * scale) // 2 * 2, int(height * scale) // 2 * 2)
    gain = random.uniform(0.8, 1.2)
    for frame in frames:
        part = Image.fromarray(frame, "RGB").crop((left, upper, right, lower))
        small = np.asarray(part.resize(size, Image.Resampling.BILINEAR), np.float32)
        yield np.clip(small * gain, 0, 255).astype(np.uint8)


def _webm(
    pictures: Iterator[NDArray[np.uint8]], samples: NDArray[np.float32] | None, rate: int, quality: int
) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="webm", options={"fflags": "+bitexact"}) as container:
        first = next(pictures)
        # one thread and no clock ("realtime" adapts to it): the same frames give the same bytes
        options = {"crf": str(quality), "deadline": "good", "cpu-used": "5", "threads": "1"}
        video = container.add_stream("libvpx", rate=rate, options=options)
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        video.bit_rate = 400_000
        sound = None
        if samples is not None and samples.size:
            sound = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")
            sound.bit_rate = 24_000
        for number, pixels in enumerate((first, *pictures)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None and samples is not None:
            block = av.AudioFrame.from_ndarray(samples[np.newaxis], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return file.getvalue()
