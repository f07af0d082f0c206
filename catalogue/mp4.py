"""Frames and samples to an MP4 file: H.264 and AAC, by PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from catalogue.errors import GenerationError

__all__ = ["SAMPLE_RATE_HZ", "write_mp4"]

SAMPLE_RATE_HZ = 44_100
# One thread and no B-frames: the same frames give the same file, and every player can seek in it.
_X264 = {"preset": "veryfast", "crf": "25", "threads": "1", "bf": "0"}


def write_mp4(
    target: Path,
    frames: Iterable[NDArray[np.uint8]],
    size_px: int,
    fps: int,
    samples: NDArray[np.float32] | None = None,
) -> None:
    """Write frames uint8[size_px, size_px, 3] and, if given, mono samples float32[n] at SAMPLE_RATE_HZ.

    The file appears under its name only when it is whole. Raises GenerationError.
    """
    temporary = target.with_name(f".{target.name}.part")
    try:
        with av.open(temporary, "w", format="mp4", options={"movflags": "+faststart"}) as container:
            video = container.add_stream("libx264", rate=fps, options=dict(_X264))
            video.width = video.height = size_px
            video.pix_fmt = "yuv420p"
            video.gop_size = 2 * fps
            audio = None
            if samples is not None:
                audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
                audio.bit_rate = 64_000
            for index, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = index
                frame.time_base = Fraction(1, fps)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            if audio is not None and samples is not None:
                sound = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format="fltp", layout="mono")
                sound.sample_rate = SAMPLE_RATE_HZ
                sound.pts = 0
                sound.time_base = Fraction(1, SAMPLE_RATE_HZ)
                container.mux(audio.encode(sound))
                container.mux(audio.encode(None))
        temporary.replace(target)
    except (av.FFmpegError, OSError) as error:
        raise GenerationError(f"{target.name}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
