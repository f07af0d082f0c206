"""Sound to 16 kHz mono."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import av
import numpy as np
import numpy.typing as npt

from media.containers import SoundPacket, open_container, sound_stream
from media.errors import CorruptError, EmptyError, TooLongError, TruncatedError
from media.limits import Clock, Limits, check_size
from media.types import SAMPLE_RATE_HZ, Audio, Kind

__all__ = ["Resampler", "decode_audio", "decode_sound_packets"]

_TOLERANCE_S = 0.001
# At one sample a second, a few kilobytes would become hours.
_MIN_RATE_HZ = 1_000
_MAX_RATE_HZ = 768_000


class Resampler:
    """Frames of any rate, layout and format in; mono float32 at 16 kHz out.

    Channels are averaged after resampling: FFmpeg's own down-mix has other gains for whole-number and
    floating-point formats. A stream may change its format midway (chained Ogg), so the resampler follows.
    """

    def __init__(self) -> None:
        self._setup: tuple[object, ...] = ()
        self._resampler: av.AudioResampler | None = None

    def push(self, frame: av.AudioFrame | None) -> Iterator[npt.NDArray[np.float32]]:
        """Blocks of samples; None drains what is left."""
        if frame is not None:
            setup = (frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate)
            if setup != self._setup:
                yield from self.push(None)
                self._setup = setup
                self._resampler = av.AudioResampler("flt", frame.layout, SAMPLE_RATE_HZ)
            frame.pts = None
        if self._resampler is None:
            return
        for block in self._resampler.resample(frame):
            # Interleaved: of planar frames with more than 8 channels PyAV 18 reads planes that are not there.
            yield block.to_ndarray().reshape(block.samples, -1).mean(axis=1, dtype=np.float32)
        if frame is None:
            self._resampler, self._setup = None, ()


def decode_audio(
    data: bytes,
    limits: Limits,
    kind: Kind | None = None,
    *,
    first_s: float = math.inf,
    clock: Clock | None = None,
) -> Audio:
    """The sound of an audio file, or the sound track of a video, as float32 [n], 16 kHz, mono.

    With `first_s` no more than that is decoded and given; the rest is only demuxed, so that what its packets
    say still counts. `clock` is decode_deadline_s unless given. Raises the errors of `sniff`, CorruptError,
    TruncatedError, TooLongError (max_audio_s), DeadlineError.
    """
    if kind is None:
        from media.sniffing import sniff

        kind = sniff(data, limits)
    check_size(data, limits, kind.format)
    clock = clock or Clock(limits.decode_deadline_s, limit="decode_deadline_s", kind=kind.format)
    with open_container(data, kind, limits) as container:
        stream = sound_stream(container, kind.format)
        if stream is None:
            raise EmptyError("there is no sound in it", kind=kind.format)
        start_s: float | None = None
        end_s = 0.0

        def packets() -> Iterator[SoundPacket]:
            nonlocal start_s, end_s
            for packet in container.demux(stream):
                clock.check()
                if packet.pts is not None and packet.time_base is not None:
                    start_s = float(packet.pts * packet.time_base) if start_s is None else start_s
                    end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                yield packet

        rest = packets()
        sound = decode_sound_packets(rest, stream, limits.max_audio_s, clock, first_s)
        for _ in rest:
            if end_s - (start_s or 0.0) > limits.max_audio_s:
                raise TooLongError(kind=kind.format, limit=f"max_audio_s={limits.max_audio_s:g}")
        if sound is None:
            raise EmptyError("there is no sound in it", kind=kind.format)
        samples, _ = sound
        if kind.format == "flac" and stream.duration is not None and stream.time_base is not None:
            # FLAC declares its exact length, and FFmpeg drops frames with a wrong checksum without a word.
            declared_s = float(stream.duration * stream.time_base)
            if end_s < declared_s - _TOLERANCE_S:
                raise TruncatedError(kind=kind.format)
            if samples.size / SAMPLE_RATE_HZ < min(declared_s, first_s) - _TOLERANCE_S:
                raise CorruptError(kind=kind.format)
    return Audio(samples, samples.size / SAMPLE_RATE_HZ)


def decode_sound_packets(
    packets: Iterable[SoundPacket],
    stream: av.AudioStream,
    max_s: float,
    clock: Clock,
    first_s: float = math.inf,
) -> tuple[npt.NDArray[np.float32], float | None] | None:
    """Samples as in `Audio` and the container's time of the first one, or None when there are none.

    Decoding ends at `first_s`, and only then are `packets` left over. To be called inside `open_container`.
    Raises TooLongError (max_audio_s), DeadlineError.
    """
    resampler = Resampler()
    blocks: list[npt.NDArray[np.float32]] = []
    count = 0
    begins_s: float | None = None
    for index, frame in enumerate(_frames(packets, stream, clock)):
        if index == 0 and frame.pts is not None and stream.time_base is not None:
            begins_s = float(frame.pts * stream.time_base)
        if not _MIN_RATE_HZ <= frame.sample_rate <= _MAX_RATE_HZ:
            raise CorruptError("the sample rate is nonsense", kind=clock.kind)
        for block in resampler.push(frame):
            blocks.append(block)
            count += block.size
        if count > max_s * SAMPLE_RATE_HZ:
            raise TooLongError(kind=clock.kind, limit=f"max_audio_s={max_s:g}")
        if count >= first_s * SAMPLE_RATE_HZ:
            break
    blocks.extend(resampler.push(None))
    if not blocks:
        return None
    wanted = np.concatenate(blocks)
    if wanted.size > first_s * SAMPLE_RATE_HZ:
        wanted = wanted[: round(first_s * SAMPLE_RATE_HZ)]
    samples = np.nan_to_num(wanted, nan=0.0, posinf=1.0, neginf=-1.0)
    np.clip(samples, -1.0, 1.0, out=samples)
    return samples, begins_s


def _frames(packets: Iterable[SoundPacket], stream: av.AudioStream, clock: Clock) -> Iterator[av.AudioFrame]:
    for packet in packets:
        clock.check()
        if packet.size:  # demux ends with an empty packet
            yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)
