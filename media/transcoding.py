"""Pieces of a video, re-encoded small: H.264 and Opus in MP4."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from media.containers import open_container
from media.limits import Clock, Limits
from media.spans import spans
from media.tracks import read_tracks
from media.types import SAMPLE_RATE_HZ, Audio, Kind, Modality, Segment
from media.video import ANIMATIONS, decode_video, fitted_size, picture, thin

__all__ = ["cut_video", "encode_mp4"]

_MP4 = Kind(Modality.VIDEO, "mp4", "video/mp4")
_TIME_BASE = Fraction(1, 90_000)
_Picture = tuple[float, npt.NDArray[np.uint8]]


def cut_video(data: bytes, kind: Kind, limits: Limits, first_s: float = math.inf) -> Iterator[Segment]:
    """The video's overlapping pieces; the source is demuxed once, each piece decoded from a key frame on.

    Of what lies beyond `first_s` nothing is decoded; an animation is decoded whole.
    """
    clock = Clock(limits.segment_deadline_s, limit="segment_deadline_s", kind=kind.format)
    if kind.format in ANIMATIONS:
        yield from _cut_animation(data, kind, limits)
        return
    with open_container(data, kind, limits) as container:
        tracks = read_tracks(container, limits, clock)
        tracks.check_work([t for t in sorted(tracks.times_s) if t < first_s], limits, clock)
        audio = tracks.audio(limits, clock, first_s)
        size = fitted_size(tracks.video, limits.segment_video_height_px)
        kept = thin(sorted(tracks.times_s), limits.segment_video_fps)
        cuts = spans(min(tracks.duration_s, first_s), limits.segment_video_s, limits.segment_video_overlap_s)
        for index, (start_s, end_s) in enumerate(cuts):
            times = [start_s, *(t for t in kept if start_s < t < end_s)]
            shown = zip(times, tracks.frames_at(times, clock), strict=True)
            pictures = ((t - start_s, picture(frame, size)) for t, (_, frame) in shown)
            yield Segment(
                index, start_s, end_s, encode_mp4(pictures, _part(audio, start_s, end_s), limits), _MP4
            )


def _cut_animation(data: bytes, kind: Kind, limits: Limits) -> Iterator[Segment]:
    video = decode_video(data, limits, kind)
    for index, (start_s, end_s) in enumerate(
        spans(video.duration_s, limits.segment_video_s, limits.segment_video_overlap_s)
    ):
        first = max(0, int(np.searchsorted(video.times_s, start_s, side="right")) - 1)
        last = int(np.searchsorted(video.times_s, end_s, side="left"))
        pictures = (
            (max(0.0, float(video.times_s[i]) - start_s), video.frames[i]) for i in range(first, last)
        )
        yield Segment(index, start_s, end_s, encode_mp4(pictures, None, limits), _MP4)


def _part(audio: Audio | None, start_s: float, end_s: float) -> npt.NDArray[np.float32] | None:
    if audio is None:
        return None
    return audio.samples[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]


def encode_mp4(
    pictures: Iterable[_Picture], samples: npt.NDArray[np.float32] | None, limits: Limits
) -> bytes:
    """(time in s, uint8 [H, W, 3] of even height and width) in order, and 16 kHz sound -> an MP4 file."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video: av.VideoStream | None = None
        sound = None
        if samples is not None and samples.size:
            sound = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")
        for time_s, pixels in pictures:
            if video is None:
                video = container.add_stream(
                    "libx264", rate=Fraction(limits.segment_video_fps).limit_denominator(1000)
                )
                video.height, video.width = pixels.shape[:2]
                video.pix_fmt = "yuv420p"
                video.codec_context.time_base = _TIME_BASE
                video.options = {"preset": "superfast", "crf": "26", "threads": "1"}
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time_s / _TIME_BASE), _TIME_BASE
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if sound is not None and samples is not None:
            block = av.AudioFrame.from_ndarray(samples[np.newaxis], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return file.getvalue()
