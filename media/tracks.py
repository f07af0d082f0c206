"""A demuxed video: which packets it has and when they are shown, before any of them is decoded.

Demuxing is cheap (compressed packets, no larger together than the file) and gives exact times, so that only
the groups of pictures that are looked at need decoding.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np

from media.audio import decode_sound_packets
from media.containers import SoundPacket, VideoPacket, sound_stream, video_stream
from media.errors import CorruptError, EmptyError, TooLongError, TooManyFramesError, TooManyPixelsError
from media.limits import Clock, Limits
from media.types import SAMPLE_RATE_HZ, Audio

__all__ = ["Tracks", "read_tracks"]

_EPSILON_S = 1e-6
_DEFAULT_FRAME_S = 0.04
_SYNC_S = 0.02  # a smaller lead or lag of the sound track is left alone


@dataclass(frozen=True)
class Tracks:
    """times_s: when each of `packets` (in decoding order) is shown, from the first picture on."""

    video: av.VideoStream
    sound: av.AudioStream | None
    packets: list[VideoPacket]
    times_s: list[float]
    sound_packets: list[SoundPacket]
    start_s: float  # the container's time of the first picture
    duration_s: float

    def frames_at(self, times_s: Sequence[float], clock: Clock) -> Iterator[tuple[float, av.VideoFrame]]:
        """For each of the ascending times the frame shown then, decoded from its key frame on.

        To be called inside `open_container`. Raises CorruptError, DeadlineError.
        """
        keys = [0, *(i for i, packet in enumerate(self.packets) if packet.is_keyframe and i > 0)]
        key_times = [self.times_s[i] for i in keys]
        position = 0
        shown: tuple[float, av.VideoFrame] | None = None
        while position < len(times_s):
            group = max(0, bisect_right(key_times, times_s[position] + _EPSILON_S) - 1)
            is_last = group + 1 == len(keys)
            end_s = float("inf") if is_last else key_times[group + 1] - _EPSILON_S
            for frame in self._decode(keys[group], len(self.packets) if is_last else keys[group + 1], clock):
                time_s = self._shown_at(frame, shown)
                # The frame before this one was shown until now.
                while times_s[position] < min(time_s - _EPSILON_S, end_s):
                    yield shown or (time_s, frame)
                    position += 1
                    if position == len(times_s):
                        return
                shown = (time_s, frame)
                if times_s[position] >= end_s:
                    break
            if shown is None:
                raise CorruptError("no frame could be decoded", kind=clock.kind)
            while position < len(times_s) and times_s[position] < end_s:
                yield shown
                position += 1

    def check_work(self, times_s: Sequence[float], limits: Limits, clock: Clock) -> None:
        """DeadlineError when `frames_at` of these ascending times has far too much to decode."""
        total = len(self.packets)
        keys = [0, *(i for i, packet in enumerate(self.packets) if packet.is_keyframe and i > 0)]
        done = count = 0
        for start, stop in itertools.pairwise([*keys, total]):
            end_s = math.inf if stop == total else self.times_s[stop] - _EPSILON_S
            wanted = bisect_left(times_s, end_s)
            if wanted > done:
                last_s = times_s[wanted - 1] + _EPSILON_S
                count += sum(time_s <= last_s for time_s in self.times_s[start:stop])
                done = wanted
        context = self.video.codec_context
        clock.check_work(count * context.width * context.height, limits.decode_pixels_per_s)

    def _decode(self, start: int, stop: int, clock: Clock) -> Iterator[av.VideoFrame]:
        context = self.video.codec_context
        if context.is_open:
            context.flush_buffers()
        for packet in self.packets[start:stop]:
            clock.check()
            yield from context.decode(packet)
        yield from context.decode(None)

    def _shown_at(self, frame: av.VideoFrame, before: tuple[float, av.VideoFrame] | None) -> float:
        # PyAV gives frames that come out of the final drain no time base.
        if frame.pts is not None and self.video.time_base is not None:
            return float(frame.pts * self.video.time_base) - self.start_s
        return before[0] + _frame_s(self.video) if before else 0.0

    def audio(self, limits: Limits, clock: Clock, first_s: float = math.inf) -> Audio | None:
        """The sound track, in step with the pictures: silence is put before it or its lead cut off.

        Of it all, or of what belongs to the first `first_s` seconds of the pictures, or a little more.
        """
        if self.sound is None or first_s <= 0:
            return None
        first = self.sound_packets[0] if self.sound_packets else None
        begins_s = _seconds(first, first.pts) if first is not None else None
        # Sound from before the first picture is decoded as well, and then cut off.
        lead_s = max(0.0, self.start_s - begins_s) + _SYNC_S if begins_s is not None else _SYNC_S
        sound = decode_sound_packets(
            self.sound_packets, self.sound, limits.max_audio_s, clock, first_s + lead_s
        )
        if sound is None:
            return None
        samples, heard_s = sound  # heard_s: when the first of them sounds
        lag_s = 0.0 if heard_s is None else heard_s - self.start_s
        if _SYNC_S < abs(lag_s) < limits.max_video_s:
            lag = round(lag_s * SAMPLE_RATE_HZ)
            samples = np.concatenate([np.zeros(max(lag, 0), np.float32), samples[max(-lag, 0) :]])
        return Audio(samples, samples.size / SAMPLE_RATE_HZ) if samples.size else None


def read_tracks(container: av.container.InputContainer, limits: Limits, clock: Clock) -> Tracks:
    """Demuxes the whole file, checking frame size, frame count and duration on the way.

    To be called inside `open_container`. Raises EmptyError, EncryptedError, UnsupportedError, CorruptError,
    TooManyPixelsError, TooManyFramesError, TooLongError, DeadlineError.
    """
    video, sound = video_stream(container, clock.kind), sound_stream(container, clock.kind)
    if video is None:
        raise EmptyError("there are no moving pictures in it", kind=clock.kind)
    if video.codec_context.width * video.codec_context.height > limits.max_frame_pixels:
        raise TooManyPixelsError(kind=clock.kind, limit=f"max_frame_pixels={limits.max_frame_pixels}")
    # Pictures may also grow midway: FFmpeg then refuses them itself.
    video.codec_context.options = {"max_pixels": str(limits.max_frame_pixels)}
    too_long = TooLongError(kind=clock.kind, limit=f"max_video_s={limits.max_video_s:g}")
    packets: list[VideoPacket] = []
    sound_packets: list[SoundPacket] = []
    times: list[float] = []
    end_s = 0.0
    for packet in container.demux([video] if sound is None else [video, sound]):
        clock.check()
        if packet.size == 0:  # demux ends with an empty packet for each stream
            continue
        if packet.stream is sound:
            sound_packets.append(cast(SoundPacket, packet))
            continue
        stamp_s = _seconds(packet, packet.pts if packet.pts is not None else packet.dts)
        time_s = end_s if stamp_s is None else stamp_s
        length_s = _seconds(packet, packet.duration) or _frame_s(video)
        packets.append(cast(VideoPacket, packet))
        times.append(time_s)
        end_s = max(end_s, time_s + length_s) if len(times) > 1 else time_s + length_s
        if len(packets) > limits.max_frames:
            raise TooManyFramesError(kind=clock.kind, limit=f"max_frames={limits.max_frames}")
        if time_s - times[0] > limits.max_video_s:
            raise too_long
    if not packets:
        raise CorruptError("there are no frames in it", kind=clock.kind)
    start_s = min(times)
    if end_s - start_s > limits.max_video_s + _frame_s(video):
        raise too_long
    return Tracks(
        video, sound, packets, [t - start_s for t in times], sound_packets, start_s, end_s - start_s
    )


def _seconds(packet: av.Packet[Any], ticks: int | None) -> float | None:
    return None if ticks is None or packet.time_base is None else float(ticks * packet.time_base)


def _frame_s(stream: av.VideoStream) -> float:
    return float(1 / stream.average_rate) if stream.average_rate else _DEFAULT_FRAME_S
