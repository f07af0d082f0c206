"""Moving pictures: frames, times, sound, limits."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from media import (
    CorruptError,
    EncryptedError,
    Limits,
    TooLongError,
    TooManyFramesError,
    TooManyPixelsError,
    TruncatedError,
    UnsupportedError,
    decode_video,
    probe,
    sniff,
    thumbnail,
)
from media.blocks import gif_blocks

CONTAINERS = ["mp4", "webm", "mov", "avi"]
ANIMATIONS = ["gif", "webp", "png"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_frames_and_times(files, limits, name):
    video = decode_video(files["video", name], limits)
    assert video.frames.shape == (20, 48, 64, 3)
    assert video.frames.dtype == np.uint8
    np.testing.assert_allclose(video.times_s, np.arange(20) / 10, atol=0.01)
    assert video.duration_s == pytest.approx(2.0, abs=0.03)
    levels = video.frames.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, np.arange(20) + 20, atol=4)
    assert (video.audio is None) == (name == "mov")
    if video.audio is not None:
        assert video.audio.duration_s == pytest.approx(2.0, abs=0.12)


@pytest.mark.parametrize("name", ANIMATIONS)
def test_animations(files, limits, name):
    video = decode_video(files["video", name], limits)
    assert video.frames.shape == (20, 32, 48, 3)
    np.testing.assert_allclose(video.times_s, np.arange(20) / 10, atol=1e-6)
    assert video.duration_s == pytest.approx(2.0)
    np.testing.assert_allclose(video.frames.mean(axis=(1, 2, 3)), np.arange(20) * 10, atol=2)
    assert video.audio is None


@pytest.mark.parametrize("name", CONTAINERS + ANIMATIONS)
def test_probe(files, limits, name):
    data = files["video", name]
    facts = probe(data, sniff(data, limits), limits)
    assert (facts.width, facts.height) == ((48, 32) if name in ANIMATIONS else (64, 48))
    assert facts.frames == 20
    assert facts.duration_s == pytest.approx(2.0, abs=0.03)
    assert facts.has_audio == (name in {"mp4", "webm", "avi"})


@pytest.mark.parametrize("name", CONTAINERS + ANIMATIONS)
@pytest.mark.parametrize("count", [1, 3, 8, 50])
def test_evenly_spaced(files, limits, name, count):
    every = decode_video(files["video", name], limits)
    some = decode_video(files["video", name], limits, frames=count)
    assert some.frames.shape[0] == some.times_s.size == count
    middles = (np.arange(count) + 0.5) * every.duration_s / count
    shown = np.searchsorted(every.times_s, middles + 0.002, side="right") - 1
    np.testing.assert_allclose(some.times_s, every.times_s[shown], atol=0.01)
    np.testing.assert_array_equal(some.frames, every.frames[shown])


@pytest.mark.parametrize("gop", [1, 7, 1000])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_groups_of_pictures_do_not_matter(encoder, limits, gop, b_frames):
    options = {"g": str(gop), "bf": str(b_frames), "x264-params": "scenecut=0:open-gop=1"}
    data = encoder("mp4", video="libx264", seconds=6, options=options)
    every = decode_video(data, limits)
    assert every.times_s.size == 60
    some = decode_video(data, limits, frames=8)
    shown = np.searchsorted(every.times_s, (np.arange(8) + 0.5) * every.duration_s / 8 + 0.002) - 1
    np.testing.assert_allclose(some.times_s, every.times_s[shown], atol=0.01)
    assert np.abs(some.frames.astype(int) - every.frames[shown]).max() <= 3


def test_gif_pictures_beyond_the_canvas_are_cropped(files, limits):
    data = bytearray(files["video", "gif"])
    second = [start for name, start, _ in gif_blocks(bytes(data)) if name == b","][1]
    data[second + 1 : second + 5] = struct.pack("<HH", 40, 20)  # moved down to the right
    video = decode_video(bytes(data), limits)
    assert video.frames.shape[1:] == (32, 48, 3)


def test_a_moment_by_its_brightness(encoder, limits):
    video = decode_video(encoder("webm", video="libvpx", seconds=10), limits, frames=5)
    np.testing.assert_allclose(video.frames.mean(axis=(1, 2, 3)) - 20, video.times_s * 10, atol=4)


def test_at_most_30_frames_a_second(encoder, limits):
    video = decode_video(encoder("mp4", video="mpeg4", seconds=1, fps=60), limits)
    assert video.times_s.size == 30
    assert np.diff(video.times_s).min() >= 1 / 30 - 0.003


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (720, 1280)), ((1080, 1920), (1280, 720)), ((2000, 200), (128, 1280))],
)
def test_at_most_720p(encoder, limits, size, expected):
    video = decode_video(encoder("mp4", video="mpeg4", seconds=0.2, size=size), limits)
    assert video.frames.shape[1:3] == expected


def test_display_rotation(encoder, limits):
    """The matrix in the track header says: turn by 90 degrees clockwise."""
    data = bytearray(encoder("mp4", video="mpeg4", seconds=0.5))
    unit = (1 << 16).to_bytes(4)
    identity = unit + bytes(12) + unit + bytes(12) + (1 << 30).to_bytes(4)
    turned = (
        bytes(4) + unit + bytes(4) + (-(1 << 16) & 0xFFFFFFFF).to_bytes(4) + bytes(16) + (1 << 30).to_bytes(4)
    )
    at = data.index(identity, data.index(b"tkhd"))
    data[at : at + 36] = turned
    assert decode_video(bytes(data), limits).frames.shape[1:3] == (64, 48)


def test_sound_in_step_with_the_pictures(encoder, limits):
    silence_then_tone = np.zeros((1, 96_000), np.float32)
    silence_then_tone[0, 48_000:] = 0.5 * np.sin(np.arange(48_000) * 0.1)
    for container, codec in (("mp4", "aac"), ("webm", "libopus"), ("avi", "libmp3lame")):
        picture = "libvpx" if container == "webm" else "mpeg4"
        data = encoder(container, video=picture, audio=codec, samples=silence_then_tone)
        samples = decode_video(data, limits, frames=1).audio.samples
        begins_s = int(np.argmax(np.abs(samples) > 0.1)) / 16_000
        assert begins_s == pytest.approx(1.0, abs=0.07), container


@pytest.mark.parametrize("name", CONTAINERS + ANIMATIONS)
def test_truncated(files, limits, name):
    data = files["video", name]
    kind = sniff(data, limits)
    for refuse in (probe, lambda d, k, lim: decode_video(d, lim, k)):
        with pytest.raises(TruncatedError):
            refuse(data[: len(data) * 2 // 3], kind, limits)


def test_corrupt(files, limits):
    data = bytearray(files["video", "mp4"])
    at = data.index(b"stsz") + 12
    data[at : at + 60] = b"\xff" * 60
    with pytest.raises(CorruptError):
        decode_video(bytes(data), limits)


def test_encrypted(files, limits):
    plain = files["video", "mp4"]
    at = plain.index(b"avc1", plain.index(b"stsd"))
    # The entry renamed, and the box in it turned into protection information.
    data = plain[:at] + b"encv" + plain[at + 4 :].replace(b"avcC", b"sinf")
    with pytest.raises(EncryptedError):
        decode_video(data, limits)


def test_unlisted_codec(encoder, limits):
    data = encoder("matroska", video="ffv1", seconds=0.3)
    with pytest.raises(UnsupportedError):
        decode_video(data, limits)


def test_not_a_video(files, limits):
    with pytest.raises(UnsupportedError):
        decode_video(files["image", "png"], limits)
    with pytest.raises(ValueError, match="frames"):
        decode_video(files["video", "gif"], limits, frames=0)


@pytest.mark.parametrize("name", CONTAINERS + ANIMATIONS)
@pytest.mark.parametrize(
    ("bound", "error"),
    [
        ({"max_video_s": 1.0}, TooLongError),
        ({"max_frames": 9}, TooManyFramesError),
        ({"max_frame_pixels": 1000}, TooManyPixelsError),
    ],
)
def test_limits_hold_in_probe_and_decode(files, name, bound, error):
    tight = Limits(**bound)
    data = files["video", name]
    kind = sniff(data, Limits())
    for refuse in (probe, lambda d, k, lim: decode_video(d, lim, k)):
        with pytest.raises(error) as caught:
            refuse(data, kind, tight)
        (field, value), *_ = bound.items()
        assert caught.value.limit == f"{field}={value:g}"


@pytest.mark.parametrize("name", ["mp4", "gif"])
def test_memory_is_bounded_before_it_is_taken(files, name):
    with pytest.raises(TooManyFramesError) as caught:
        decode_video(files["video", name], Limits(max_decoded_bytes=10_000))
    assert caught.value.limit == "max_decoded_bytes=10000"


@pytest.mark.parametrize("name", CONTAINERS + ANIMATIONS)
def test_poster(files, limits, name):
    data = files["video", name]
    picture = Image.open(io.BytesIO(thumbnail(data, sniff(data, limits), limits, size_px=32)))
    assert picture.format == "WEBP"
    assert max(picture.size) == 32


def test_playlists_and_references_lead_nowhere(limits, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    for text in (f"#EXTM3U\n#EXTINF:1,\n{secret}\n", f"ffconcat version 1.0\nfile '{secret}'\n"):
        assert sniff(text.encode(), limits).format == "text"
        for name in ("mp4", "webm", "avi", "mov"):
            from media import Kind, Modality

            with pytest.raises(CorruptError):
                decode_video(text.encode(), limits, Kind(Modality.VIDEO, name, "video/x"))
