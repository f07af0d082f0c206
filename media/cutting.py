"""Long sounds and videos into overlapping pieces, each an encoded file of its own."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from media.limits import Clock, Limits
from media.probing import probe
from media.spans import spans
from media.types import SAMPLE_RATE_HZ, Kind, Modality, Segment

__all__ = ["encode_flac", "segments"]

_FLAC = Kind(Modality.AUDIO, "flac", "audio/flac")


def segments(data: bytes, kind: Kind, limits: Limits, first_s: float = math.inf) -> Iterator[Segment]:
    """Pieces in order. Together they cover the whole, or its first `first_s` seconds; neighbours overlap.

    A sound within segment_audio_s, a video within segment_video_s (and both within segment_bytes) gives
    itself, unchanged; so does every text and picture, with no duration. Pieces of sounds are FLAC, 16 kHz,
    mono; pieces of videos are MP4 (H.264, Opus) of at most segment_video_height_px and segment_video_fps.
    Of what lies beyond `first_s` nothing is decoded. A piece is cut within segment_deadline_s of the first
    one. Raises what `probe`, `decode_audio` and `decode_video` raise.
    """
    if kind.modality in {Modality.TEXT, Modality.IMAGE}:
        yield Segment(0, 0.0, 0.0, data, kind)
        return
    if kind.modality is Modality.AUDIO:
        yield from _sound(data, kind, limits, first_s)
        return
    duration_s = probe(data, kind, limits).duration_s
    if len(data) <= limits.segment_bytes and duration_s <= limits.segment_video_s:
        yield Segment(0, 0.0, duration_s, data, kind)
        return
    from media.transcoding import cut_video

    yield from cut_video(data, kind, limits, first_s)


def encode_flac(samples: npt.NDArray[np.float32]) -> bytes:
    """float32 [n] in [-1, 1] at 16 kHz -> a FLAC file (16 bit)."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE_HZ, layout="mono", format="s16")
        whole = (np.clip(samples, -1, 1) * 32767).round().astype(np.int16)
        frame = av.AudioFrame.from_ndarray(whole[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _sound(data: bytes, kind: Kind, limits: Limits, first_s: float) -> Iterator[Segment]:
    from media.audio import decode_audio

    probe(data, kind, limits)
    clock = Clock(limits.segment_deadline_s, limit="segment_deadline_s", kind=kind.format)
    audio = decode_audio(data, limits, kind, first_s=first_s, clock=clock)
    if len(data) <= limits.segment_bytes and audio.duration_s <= limits.segment_audio_s:
        yield Segment(0, 0.0, audio.duration_s, data, kind)
        return
    cuts = spans(audio.duration_s, limits.segment_audio_s, limits.segment_audio_overlap_s)
    for index, (start_s, end_s) in enumerate(cuts):
        piece = audio.samples[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]
        yield Segment(index, start_s, end_s, encode_flac(piece), _FLAC)
