"""Facts from headers, and the limits that can be held against them, before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from media.errors import EmptyError, TooLongError
from media.limits import Clock, Limits, check_size
from media.types import Kind, Modality, Probe

if TYPE_CHECKING:
    from media.containers import SoundPacket

__all__ = ["probe"]


def probe(data: bytes, kind: Kind, limits: Limits) -> Probe:
    """What the headers of `data` say; a container without a duration is demuxed, never decoded.

    Raises TooLargeError, TooManyPixelsError, TooManyFramesError, TooLongError, CorruptError, TruncatedError.
    """
    check_size(data, limits, kind.format)
    if kind.modality is Modality.TEXT:
        return Probe(kind)
    if kind.modality is Modality.IMAGE:
        return _probe_image(data, kind, limits)
    if kind.modality is Modality.AUDIO:
        return _probe_audio(data, kind, limits)
    return _probe_video(data, kind, limits)


def _probe_image(data: bytes, kind: Kind, limits: Limits) -> Probe:
    from media.image import image_errors, open_image

    if kind.format == "svg":  # it has no pixels before it is rendered
        from media.svg import check_svg

        check_svg(data, limits)
        return Probe(kind)
    with image_errors(data, kind.format), open_image(data, kind, limits) as image:
        return Probe(kind, image.width, image.height)


def _probe_audio(data: bytes, kind: Kind, limits: Limits) -> Probe:
    from media.containers import open_container, sound_stream

    clock = Clock(limits.decode_deadline_s, limit="decode_deadline_s", kind=kind.format)
    with open_container(data, kind, limits) as container:
        stream = sound_stream(container, kind.format)
        if stream is None:
            raise EmptyError("there is no sound in it", kind=kind.format)
        duration_s = 0.0
        if stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration_s = container.duration / 1_000_000
        if duration_s <= 0:
            duration_s = _demuxed_s(container.demux(stream), limits, clock)
    if duration_s > limits.max_audio_s:
        raise TooLongError(kind=kind.format, limit=f"max_audio_s={limits.max_audio_s:g}")
    if duration_s <= 0:
        raise EmptyError("there is no sound in it", kind=kind.format)
    return Probe(kind, duration_s=duration_s, has_audio=True)


def _demuxed_s(packets: Iterable[SoundPacket], limits: Limits, clock: Clock) -> float:
    """Seconds from the first packet to the end of the last, counted no further than max_audio_s."""
    start_s: float | None = None
    duration_s = 0.0
    for packet in packets:
        clock.check()
        if packet.pts is None or packet.time_base is None:
            continue
        if start_s is None:
            start_s = float(packet.pts * packet.time_base)
        duration_s = max(
            duration_s, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start_s
        )
        if duration_s > limits.max_audio_s:
            break
    return duration_s


def _probe_video(data: bytes, kind: Kind, limits: Limits) -> Probe:
    from media.containers import open_container
    from media.tracks import read_tracks
    from media.video import ANIMATIONS

    if kind.format in ANIMATIONS:
        from media.animation import probe_animation

        return probe_animation(data, kind, limits)
    clock = Clock(limits.decode_deadline_s, limit="decode_deadline_s", kind=kind.format)
    with open_container(data, kind, limits) as container:
        if container.duration is not None and container.duration / 1_000_000 > limits.max_video_s:
            raise TooLongError(kind=kind.format, limit=f"max_video_s={limits.max_video_s:g}")
        tracks = read_tracks(container, limits, clock)
        context = tracks.video.codec_context
        return Probe(
            kind,
            context.width,
            context.height,
            tracks.duration_s,
            len(tracks.packets),
            tracks.sound is not None,
        )
