"""Moving pictures to frames of at most 720p and 30 per second, with their sound."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from media.animation import animation_frames
from media.containers import open_container
from media.errors import CorruptError, TooManyFramesError, UnsupportedError
from media.frame_times import checked_lengths_s
from media.limits import Clock, Limits, check_size
from media.tracks import read_tracks
from media.types import Kind, Modality, Video

__all__ = ["ANIMATIONS", "decode_video", "fitted_size", "picture", "thin"]

ANIMATIONS = {"gif", "webp", "png"}
_ROUNDING_S = 0.002  # containers round times to a millisecond
_Frames = npt.NDArray[np.uint8]


def decode_video(
    data: bytes,
    limits: Limits,
    kind: Kind | None = None,
    frames: int | None = None,
    *,
    sound_s: float = math.inf,
) -> Video:
    """Frames uint8 [T, H, W, 3] in sRGB with their times, and the sound track (None without one).

    With `frames`, exactly that many are taken, at the middles of equal parts of the duration (a shorter video
    repeats some), and only the groups of pictures that hold them are decoded. Without it, all are, up to
    video_fps and max_decoded_bytes. Of the sound only the first `sound_s` seconds are decoded. Raises the
    errors of `sniff`, UnsupportedError, EncryptedError, EmptyError, CorruptError, TruncatedError,
    TooLongError, TooManyFramesError, TooManyPixelsError, DeadlineError (also at once, when that much cannot
    be decoded in time).
    """
    if kind is None:
        from media.sniffing import sniff

        kind = sniff(data, limits)
    check_size(data, limits, kind.format)
    if kind.modality is not Modality.VIDEO:
        raise UnsupportedError("this is not a video", kind=kind.format)
    if frames is not None and frames < 1:
        raise ValueError("frames must be at least 1")
    clock = Clock(limits.decode_deadline_s, limit="decode_deadline_s", kind=kind.format)
    if kind.format in ANIMATIONS:
        return _decode_animation(data, kind, limits, frames, clock)
    with open_container(data, kind, limits) as container:
        tracks = read_tracks(container, limits, clock)
        if frames is None:
            times = thin(sorted(tracks.times_s), limits.video_fps)
        else:
            times = _middles(tracks.duration_s, frames)
        size = fitted_size(tracks.video, limits.video_height_px)
        _check_array(len(times), size, limits, kind)
        tracks.check_work(times, limits, clock)
        taken_s: list[float] = []
        pictures: list[_Frames] = []
        for time_s, frame in tracks.frames_at(times, clock):
            same = bool(taken_s) and time_s == taken_s[-1]
            pictures.append(pictures[-1] if same else picture(frame, size))
            taken_s.append(time_s)
        audio = tracks.audio(limits, clock, sound_s)
    return Video(np.stack(pictures), np.array(taken_s), tracks.duration_s, audio)


def _middles(duration_s: float, count: int) -> list[float]:
    return [duration_s * (i + 0.5) / count for i in range(count)]


def thin(times_s: Sequence[float], fps: float) -> list[float]:
    """The ascending times without those that come less than 1/fps after the last one kept."""
    kept: list[float] = []
    for time_s in times_s:
        if not kept or time_s - kept[-1] > 1 / fps - _ROUNDING_S:
            kept.append(time_s)
    return kept


def fitted_size(stream: av.VideoStream, height_px: int) -> tuple[int, int]:
    """(width, height) with square pixels, inside height_px x 16:9 either way up, even, never enlarged."""
    width, height = stream.codec_context.width, stream.codec_context.height
    aspect = stream.codec_context.sample_aspect_ratio
    if aspect and 0.25 <= aspect <= 4:  # others are nonsense
        return _fit(float(width * aspect), height, height_px)
    return _fit(width, height, height_px)


def _fit(width: float, height: float, height_px: int) -> tuple[int, int]:
    if width < 1 or height < 1:
        raise CorruptError("the frames have no size")
    scale = min(1.0, height_px / min(width, height), height_px * 16 / 9 / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def picture(frame: av.VideoFrame, size: tuple[int, int]) -> _Frames:
    """uint8 [H, W, 3] of one decoded frame, scaled to `size` (before turning) and turned upright."""
    pixels = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def _check_array(count: int, size: tuple[int, int], limits: Limits, kind: Kind) -> None:
    if count * size[0] * size[1] * 3 > limits.max_decoded_bytes:
        raise TooManyFramesError(kind=kind.format, limit=f"max_decoded_bytes={limits.max_decoded_bytes}")


def _decode_animation(data: bytes, kind: Kind, limits: Limits, frames: int | None, clock: Clock) -> Video:
    ends_s = np.cumsum(checked_lengths_s(data, kind, limits))
    duration_s = float(ends_s[-1])
    starts_s = [0.0, *ends_s[:-1].tolist()]
    times = thin(starts_s, limits.video_fps) if frames is None else _middles(duration_s, frames)
    chosen = [max(0, bisect_right(starts_s, t + 1e-6) - 1) for t in times]
    pictures: dict[int, _Frames] = {}
    for index, pixels in animation_frames(data, kind, limits, len(starts_s), set(chosen), clock):
        size = _fit(pixels.shape[1], pixels.shape[0], limits.video_height_px)
        _check_array(len(chosen), size, limits, kind)
        if pixels.shape[1::-1] != size:
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
        pictures[index] = pixels
    return Video(
        np.stack([pictures[i] for i in chosen]), np.array([starts_s[i] for i in chosen]), duration_s, None
    )
