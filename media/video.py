"""Moving pictures to frames of at most 720p and 30 per second, with their sound."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from media.audio import decode_sound_packets
from media.containers import open_container, sound_stream, video_stream
from media.errors import CorruptError, EmptyError, TooLongError, TooManyFramesError, TooManyPixelsError
from media.limits import Clock, Limits, check_size
from media.types import Audio, Kind, Modality, Video

__all__ = [
    "ANIMATIONS",
    "Tracks",
    "decode_video",
    "fitted_size",
    "picture",
    "read_tracks",
    "sample_times",
    "thin",
]

ANIMATIONS = {"gif", "webp", "png"}
_ROUNDING_S = 0.002  # containers round times to a millisecond
_Frames = npt.NDArray[np.uint8]


def decode_video(data: bytes, limits: Limits, kind: Kind | None = None, frames: int | None = None) -> Video:
    """Frames uint8 [T, H, W, 3] in sRGB with their times, and the sound track (None without one).

    With `frames`, exactly that many are taken, at the middles of equal parts of the duration (a shorter video
    repeats some), and only the groups of pictures that hold them are decoded. Without it, all are, up to 30 a
    second and max_decoded_bytes. Raises the errors of `sniff`, CorruptError, TruncatedError, TooLongError,
    TooManyFramesError, TooManyPixelsError, DeadlineError.
    """
    if kind is None:
        from media.sniffing import sniff

        kind = sniff(data, limits)
    check_size(data, limits, kind.format)
    if kind.modality is not Modality.VIDEO:
        raise EmptyError("there are no moving pictures in it", kind=kind.format)
    clock = Clock(limits.decode_deadline_s, limit="decode_deadline_s", kind=kind.format)
    if kind.format in ANIMATIONS:
        return _decode_animation(data, kind, limits, frames, clock)
    with open_container(data, kind, limits) as container:
        tracks = read_tracks(container, limits, clock)
        times = sample_times(tracks.duration_s, tracks.frame_times_s, limits, frames)
        size = fitted_size(tracks.stream, limits.video_height_px)
        _check_array(len(times), size, limits, kind)
        pictures, taken = [], []
        for time_s, frame in tracks.frames_at(times, clock):
            taken.append(time_s)
            pictures.append(picture(frame, size))
        audio: Audio | None = None
        if tracks.sound is not None:
            audio = decode_sound_packets(tracks.sound_packets, tracks.sound, limits.max_video_s + 1, clock)
    return Video(np.stack(pictures), np.array(taken), tracks.duration_s, audio)


@dataclass
class Tracks:
    """What a demuxed video holds. Packets are compressed: together they are no larger than the file."""

    stream: av.VideoStream
    sound: av.AudioStream | None
    packets: list[av.Packet]
    packet_times_s: list[float]  # in decoding order
    sound_packets: list[av.Packet]
    start_s: float
    duration_s: float

    @property
    def frame_times_s(self) -> list[float]:
        return sorted(self.packet_times_s)

    def frames_at(self, times_s: Sequence[float], clock: Clock) -> Iterator[tuple[float, av.VideoFrame]]:
        """For each of the ascending times, the frame shown then, from its group of pictures' key frame on."""
        keys = [i for i, packet in enumerate(self.packets) if packet.is_keyframe] or [0]
        keys[0] = 0
        key_times = [self.packet_times_s[i] for i in keys]
        wanted = list(times_s)
        last: tuple[float, av.VideoFrame] | None = None
        position = 0
        while position < len(wanted):
            group = max(0, bisect_right(key_times, wanted[position] + 1e-6) - 1)
            end_s = key_times[group + 1] if group + 1 < len(keys) else float("inf")
            stop = keys[group + 1] if group + 1 < len(keys) else len(self.packets)
            for frame in self._decode(keys[group], stop, clock):
                time_s = self._time_s(frame, last)
                while (
                    position < len(wanted) and time_s > wanted[position] + 1e-6 and wanted[position] < end_s
                ):
                    yield last or (time_s, frame)
                    position += 1
                last = (time_s, frame)
                if position == len(wanted) or wanted[position] >= end_s:
                    break
            if last is None:
                raise CorruptError("no frame could be decoded", kind=clock.kind)
            while position < len(wanted) and wanted[position] < end_s:
                yield last
                position += 1

    def _decode(self, start: int, stop: int, clock: Clock) -> Iterator[av.VideoFrame]:
        context = self.stream.codec_context
        if context.is_open:
            context.flush_buffers()
        for packet in self.packets[start:stop]:
            clock.check()
            yield from context.decode(packet)
        yield from context.decode(None)

    def _time_s(self, frame: av.VideoFrame, last: tuple[float, Any] | None) -> float:
        if frame.time is not None:
            return frame.time - self.start_s
        rate = self.stream.average_rate
        return (last[0] + (float(1 / rate) if rate else 0.04)) if last else 0.0


def read_tracks(container: av.container.InputContainer, limits: Limits, clock: Clock) -> Tracks:
    """Demuxes the whole file without decoding; checks sizes, frame count and duration."""
    stream, sound = video_stream(container), sound_stream(container)
    if stream is None:
        raise EmptyError("there are no moving pictures in it", kind=clock.kind)
    context = stream.codec_context
    if context.width * context.height > limits.max_frame_pixels:
        raise TooManyPixelsError(kind=clock.kind, limit=f"max_frame_pixels={limits.max_frame_pixels}")
    context.options = {"max_pixels": str(limits.max_frame_pixels)}
    packets: list[av.Packet] = []
    times: list[float] = []
    ends: list[float] = []
    sound_packets: list[av.Packet] = []
    start = 0.0
    for packet in container.demux(*(s for s in (stream, sound) if s is not None)):
        clock.check()
        if packet.size == 0:
            continue
        if packet.stream is sound:
            sound_packets.append(packet)
            continue
        stamp = packet.pts if packet.pts is not None else packet.dts
        time_s = float(stamp * packet.time_base) if stamp is not None else (ends[-1] if ends else 0.0)
        start = min(start, time_s) if times else time_s
        length_s = float((packet.duration or 0) * packet.time_base)
        packets.append(packet)
        times.append(time_s)
        ends.append(time_s + (length_s or (float(1 / stream.average_rate) if stream.average_rate else 0.0)))
        if len(packets) > limits.max_frames:
            raise TooManyFramesError(kind=clock.kind, limit=f"max_frames={limits.max_frames}")
        if time_s - start > limits.max_video_s:
            raise TooLongError(kind=clock.kind, limit=f"max_video_s={limits.max_video_s:g}")
    if not packets:
        raise CorruptError("there are no frames in it", kind=clock.kind)
    return Tracks(stream, sound, packets, [t - start for t in times], sound_packets, start, max(ends) - start)


def sample_times(
    duration_s: float, frame_times_s: Sequence[float], limits: Limits, frames: int | None
) -> list[float]:
    """Times to take pictures at: `frames` middles of equal parts, or every frame up to video_fps."""
    if frames is not None:
        if frames < 1:
            raise ValueError("frames must be at least 1")
        return [duration_s * (i + 0.5) / frames for i in range(frames)]
    return thin(frame_times_s, limits.video_fps)


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
    shown_width = float(width * aspect) if aspect else float(width)
    return _fit(shown_width, float(height), height_px)


def _fit(width: float, height: float, height_px: int) -> tuple[int, int]:
    if width < 1 or height < 1:
        raise CorruptError("the frames have no size")
    scale = min(1.0, height_px / min(width, height), height_px * 16 / 9 / max(width, height))
    return tuple(max(2, round(side * scale / 2) * 2) for side in (width, height))  # type: ignore[return-value]


def picture(frame: av.VideoFrame, size: tuple[int, int]) -> _Frames:
    """uint8 [H, W, 3] of one decoded frame, scaled to `size` and turned upright."""
    pixels = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def _check_array(count: int, size: tuple[int, int], limits: Limits, kind: Kind) -> None:
    if count * size[0] * size[1] * 3 > limits.max_decoded_bytes:
        raise TooManyFramesError(kind=kind.format, limit=f"max_decoded_bytes={limits.max_decoded_bytes}")


def _decode_animation(data: bytes, kind: Kind, limits: Limits, frames: int | None, clock: Clock) -> Video:
    from media.animation import animation_frames

    # The times are known only at the end, so all frames are kept, small, until then.
    starts: list[float] = []
    pictures: list[_Frames] = []
    end_s = 0.0
    size: tuple[int, int] | None = None
    for start_s, end_s, pixels in animation_frames(data, kind, limits, clock):
        if starts and frames is None and start_s - starts[-1] <= 1 / limits.video_fps - _ROUNDING_S:
            continue
        size = size or _fit(pixels.shape[1], pixels.shape[0], limits.video_height_px)
        if pixels.shape[1::-1] != size:
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
        _check_array(len(pictures) + 1, size, limits, kind)
        starts.append(start_s)
        pictures.append(pixels)
    if not pictures:
        raise CorruptError("there are no frames in it", kind=kind.format)
    if frames is None:
        return Video(np.stack(pictures), np.array(starts), end_s, None)
    chosen = [bisect_right(starts, t + 1e-6) - 1 for t in sample_times(end_s, starts, limits, frames)]
    return Video(np.stack([pictures[i] for i in chosen]), np.array([starts[i] for i in chosen]), end_s, None)
