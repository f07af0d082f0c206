"""Long content in overlapping pieces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import Limits, TooLongError, decode_audio, decode_video, probe, segments, sniff
from media.cutting import encode_flac
from media.spans import spans

SHORT = Limits(
    segment_audio_s=2.0, segment_audio_overlap_s=0.5, segment_video_s=2.0, segment_video_overlap_s=0.5
)


@settings(deadline=None)
@given(
    st.floats(0.01, 5000),
    st.floats(1, 100),
    st.floats(0, 0.49),
)
def test_spans_cover_the_whole_and_overlap(duration_s, length_s, share):
    overlap_s = length_s * share
    cuts = spans(duration_s, length_s, overlap_s)
    assert cuts[0][0] == 0
    assert cuts[-1][1] == pytest.approx(duration_s)
    for (start, end), (next_start, next_end) in itertools.pairwise(cuts):
        assert end - start == pytest.approx(length_s)
        assert next_start > start
        assert end - next_start >= overlap_s - 1e-6
        assert next_end > end
    if len(cuts) > 1:  # no more pieces than needed
        assert (len(cuts) - 1) * (length_s - overlap_s) + overlap_s <= duration_s + 1e-6


@pytest.mark.parametrize("key", [("image", "png"), ("image", "svg"), ("text", "text")])
def test_pictures_and_texts_stay_whole(files, limits, key):
    data = files[key]
    (piece,) = segments(data, sniff(data, limits), limits)
    assert piece.data is data
    assert (piece.start_s, piece.end_s) == (0, 0)


@pytest.mark.parametrize(
    "key", [("audio", "ogg"), ("audio", "mp3"), ("video", "mp4"), ("video", "gif"), ("video", "webm")]
)
def test_short_ones_stay_unchanged(files, limits, key):
    data = files[key]
    kind = sniff(data, limits)
    (piece,) = segments(data, kind, limits)
    assert piece.data is data
    assert piece.kind == kind
    assert (piece.index, piece.start_s) == (0, 0.0)
    assert piece.end_s == pytest.approx(2.0, abs=0.08)


def test_a_long_sound(limits):
    ramp = np.linspace(-0.9, 0.9, 16_000 * 7, dtype=np.float32)
    data = encode_flac(ramp)
    pieces = list(segments(data, sniff(data, limits), SHORT))
    assert [p.index for p in pieces] == list(range(len(pieces)))
    assert pieces[0].start_s == 0
    assert pieces[-1].end_s == pytest.approx(7.0)
    for piece in pieces:
        samples = decode_audio(piece.data, limits).samples
        assert samples.size == pytest.approx((piece.end_s - piece.start_s) * 16_000, abs=2)
        start = round(piece.start_s * 16_000)
        np.testing.assert_allclose(samples, ramp[start : start + samples.size], atol=1e-3)
    for piece, following in itertools.pairwise(pieces):
        assert following.start_s <= piece.end_s - 0.5 + 1e-6


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_a_long_video_with_sound(encoder, limits, container):
    codecs = {"mp4": ("libx264", "aac"), "webm": ("libvpx", "libopus")}[container]
    # The pitch tells the second.
    time_s = np.arange(48_000 * 7) / 48_000
    pitch = np.sin(2 * np.pi * np.cumsum(400 + 100 * np.floor(time_s)) / 48_000)[np.newaxis] / 2
    data = encoder(container, video=codecs[0], audio=codecs[1], seconds=7, samples=pitch.astype(np.float32))
    pieces = list(segments(data, sniff(data, limits), SHORT))
    assert pieces[-1].end_s == pytest.approx(7.0, abs=0.1)
    assert len(pieces) == 5
    for piece in pieces:
        assert piece.kind.format == "mp4"
        video = decode_video(piece.data, limits)
        assert video.duration_s == pytest.approx(piece.end_s - piece.start_s, abs=0.12)
        levels = video.frames.mean(axis=(1, 2, 3)) - 20
        np.testing.assert_allclose(levels, (piece.start_s + video.times_s) * 10, atol=5)
        assert video.audio is not None
        assert video.audio.duration_s == pytest.approx(piece.end_s - piece.start_s, abs=0.15)
        middle = np.floor(piece.start_s) + 1.5  # in the middle of a second of one pitch
        at = round((middle - piece.start_s) * 16_000)
        part = video.audio.samples[at - 3200 : at + 3200]
        hertz = np.argmax(np.abs(np.fft.rfft(part * np.hanning(part.size)))) * 16_000 / part.size
        assert hertz == pytest.approx(400 + 100 * np.floor(middle), abs=5)


def test_a_long_animation(files, limits):
    short = Limits(segment_video_s=1.0, segment_video_overlap_s=0.2)
    data = files["video", "gif"]
    pieces = list(segments(data, sniff(data, limits), short))
    np.testing.assert_allclose([(p.start_s, p.end_s) for p in pieces], [(0, 1), (0.5, 1.5), (1, 2)])
    for piece in pieces:
        video = decode_video(piece.data, limits)
        np.testing.assert_allclose(
            video.frames.mean(axis=(1, 2, 3)), (piece.start_s + video.times_s) * 100, atol=12
        )


def test_big_files_become_small_even_when_short(encoder, limits):
    small = Limits(segment_bytes=1000)
    for data, expected in (
        (encoder("wav", audio="pcm_s16le"), "flac"),
        (encoder("mp4", video="mpeg4", size=(640, 480)), "mp4"),
    ):
        (piece,) = segments(data, sniff(data, limits), small)
        assert piece.kind.format == expected
        assert len(piece.data) < len(data)
        assert piece.end_s == pytest.approx(2.0, abs=0.1)
    assert probe(piece.data, piece.kind, limits).height == 360


@pytest.mark.parametrize(
    ("key", "field"), [(("audio", "ogg"), "max_audio_s"), (("video", "mp4"), "max_video_s")]
)
def test_limits_hold_before_anything_is_cut(files, limits, key, field):
    data = files[key]
    with pytest.raises(TooLongError):
        next(iter(segments(data, sniff(data, limits), Limits(**{field: 1.0}))))


@pytest.mark.parametrize("key", [("audio", "mp3"), ("video", "mp4")])
def test_nothing_beyond_what_is_asked_for(encoder, limits, key):
    long = encoder(
        key[1],
        video="libx264" if key[0] == "video" else "",
        audio="aac" if key[0] == "video" else "libmp3lame",
        seconds=6.0,
    )
    pieces = list(segments(long, sniff(long, SHORT), SHORT, first_s=3.0))
    assert (pieces[0].start_s, pieces[-1].end_s) == (0.0, pytest.approx(3.0))
