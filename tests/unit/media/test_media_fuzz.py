"""Random and mutated bytes of every format: no crash, no hang, no untyped error."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media import (
    Kind,
    Limits,
    MediaError,
    Modality,
    decode_audio,
    decode_image,
    decode_text,
    decode_video,
    probe,
    segments,
    sniff,
    thumbnail,
)

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore::UserWarning:PIL")]
LIMITS = Limits(
    max_pixels=1_000_000,
    max_frame_pixels=500_000,
    max_animation_pixels=5_000_000,
    max_frames=500,
    max_audio_s=30,
    max_video_s=30,
    max_decoded_bytes=50_000_000,
    segment_audio_s=1.5,
    segment_audio_overlap_s=0.2,
    segment_video_s=1.5,
    segment_video_overlap_s=0.2,
    decode_deadline_s=10,
    segment_deadline_s=20,
)
KEYS = [
    *(("image", name) for name in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "svg")),
    *(("audio", name) for name in ("wav", "flac", "ogg", "mp3", "m4a", "webm")),
    *(("video", name) for name in ("mp4", "webm", "mov", "avi", "gif", "webp", "png")),
    ("text", "text"),
]
PREFIXES = [
    *(b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"fLaC", b"OggS\0"),
    *(
        b"RIFF\0\1\0\0WEBPVP8X",
        b"RIFF\0\1\0\0WAVEfmt ",
        b"RIFF\0\1\0\0AVI LIST",
        b"ID3\4\0\0\0\0\0\0\xff\xfb",
    ),
    *(b"\0\0\0\x14ftypisom\0\0\0\0isom", b"\0\0\0\x14ftypM4A ", b"\x1a\x45\xdf\xa3", b"\x1f\x8b\x08\0"),
    *(b"<svg xmlns='http://www.w3.org/2000/svg'>", b"<?xml", b"PK\3\4", b"%PDF-"),
]
QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))


def _use(data: bytes, kind: Kind, *, deep: bool) -> None:
    """Everything that one can do with it; every outcome is a value of the promised shape or a MediaError."""
    with contextlib.suppress(MediaError):
        probe(data, kind, LIMITS)
    with contextlib.suppress(MediaError):
        if kind.modality is Modality.TEXT:
            assert decode_text(data, LIMITS)
        elif kind.modality is Modality.IMAGE:
            pixels = decode_image(data, LIMITS, kind)
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
        elif kind.modality is Modality.AUDIO:
            samples = decode_audio(data, LIMITS, kind).samples
            assert np.isfinite(samples).all()
            assert samples.size <= 31 * 16_000
        else:
            video = decode_video(data, LIMITS, kind, frames=4)
            assert video.frames.shape[0] == video.times_s.size == 4
            assert np.isfinite(video.times_s).all()
            assert 0 <= video.duration_s <= 31
    if deep:
        with contextlib.suppress(MediaError):
            thumbnail(data, kind, LIMITS, size_px=32)
        with contextlib.suppress(MediaError):
            for piece in segments(data, kind, LIMITS):
                assert 0 <= piece.start_s <= piece.end_s


def _mutate(data: bytes, other: bytes, draw: st.DataObject) -> bytes:
    """A few flips, cuts and splices, mostly near the start, where the headers are."""
    mutated = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        end = len(mutated)
        at = draw.draw(st.one_of(st.integers(0, min(400, end)), st.integers(0, end)))
        match draw.draw(st.sampled_from(["flip", "flip", "set", "cut", "remove", "splice", "repeat"])):
            case "flip" if at < end:
                mutated[at] ^= 1 << draw.draw(st.integers(0, 7))
            case "set":
                run = draw.draw(st.integers(1, 8))
                mutated[at : at + run] = draw.draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\x80"])) * run
            case "cut":
                del mutated[at:]
            case "remove":
                del mutated[at : at + draw.draw(st.integers(1, 64))]
            case "splice":
                start = draw.draw(st.integers(0, len(other)))
                mutated[at:at] = other[start : start + draw.draw(st.integers(1, 200))]
            case "repeat":
                mutated[at:at] = mutated[at : at + draw.draw(st.integers(1, 500))]
    return bytes(mutated)


@pytest.mark.parametrize("key", KEYS, ids="-".join)
@settings(QUICK, max_examples=40)
@given(draw=st.data())
def test_mutated_files(files, key, draw):
    other = files[draw.draw(st.sampled_from(KEYS))]
    data = _mutate(files[key], other, draw)
    _use(data, sniff(files[key], LIMITS), deep=draw.draw(st.integers(0, 9)) == 0)
    with contextlib.suppress(MediaError):
        kind = sniff(data, LIMITS)
        if (str(kind.modality), kind.format) != key:
            _use(data, kind, deep=False)


@settings(QUICK, max_examples=300)
@given(prefix=st.sampled_from(PREFIXES), body=st.binary(max_size=600))
def test_random_bytes_after_every_signature(prefix, body):
    with contextlib.suppress(MediaError):
        data = prefix + body
        _use(data, sniff(data, LIMITS), deep=False)


@settings(QUICK, max_examples=150)
@given(key=st.sampled_from(KEYS), data=st.binary(min_size=1, max_size=300))
def test_random_bytes_as_any_kind(files, key, data):
    _use(data, sniff(files[key], LIMITS), deep=False)
