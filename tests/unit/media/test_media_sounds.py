"""Sounds to 16 kHz mono."""

from __future__ import annotations

import io
import wave

import av
import numpy as np
import pytest
from PIL import Image

from media import (
    SAMPLE_RATE_HZ,
    CorruptError,
    EmptyError,
    Limits,
    MediaError,
    TooLongError,
    TruncatedError,
    decode_audio,
    probe,
    sniff,
    thumbnail,
)
from media.audio import Resampler

FORMATS = ["wav", "flac", "ogg", "mp3", "m4a", "webm"]


def _loudest_hertz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum) * 16_000 / samples.size)


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip(files, limits, name):
    data = files["audio", name]
    audio = decode_audio(data, limits)
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert audio.duration_s == audio.samples.size / 16_000
    assert audio.duration_s == pytest.approx(2.0, abs=0.08)
    assert _loudest_hertz(audio.samples) == pytest.approx(440, abs=2)
    assert np.abs(audio.samples[8000:24_000]).max() == pytest.approx(0.5, abs=0.05)
    facts = probe(data, sniff(data, limits), limits)
    assert facts.duration_s == pytest.approx(2.0, abs=0.08)
    assert facts.has_audio


@pytest.mark.parametrize(
    ("container", "codec", "rate", "channels"),
    [
        ("wav", "pcm_u8", 8_000, 1),
        ("wav", "pcm_s16le", 16_000, 1),
        ("wav", "pcm_s24le", 96_000, 2),
        ("wav", "pcm_f32le", 44_100, 2),
        ("wav", "pcm_mulaw", 8_000, 1),
        ("flac", "flac", 22_050, 2),
        ("mp3", "libmp3lame", 44_100, 2),
        ("matroska", "aac", 32_000, 2),
    ],
)
def test_rates_depths_and_channels_sound_alike(encoder, limits, container, codec, rate, channels):
    audio = decode_audio(encoder(container, audio=codec, rate=rate, channels=channels), limits)
    assert _loudest_hertz(audio.samples) == pytest.approx(440, abs=2)
    assert np.abs(audio.samples[8000:24_000]).max() == pytest.approx(0.5, abs=0.05)


def test_vorbis(limits, sine):
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, sine(1.0, 22_050).T, 22_050, format="OGG", subtype="VORBIS")
    audio = decode_audio(file.getvalue(), limits)
    assert _loudest_hertz(audio.samples) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_channels_are_averaged_in_every_sample_format(encoder, limits, sine, codec):
    one_sided = sine(1.0, 16_000, 2)
    one_sided[1] = 0
    audio = decode_audio(encoder("wav", audio=codec, rate=16_000, channels=2, samples=one_sided), limits)
    np.testing.assert_allclose(audio.samples, one_sided[0] / 2, atol=1e-3)


@pytest.mark.parametrize("channels", [7, 33])
def test_many_channels_without_a_layout(limits, channels):
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.full((1600, channels), 0.25, np.float32), 16_000, format="WAV", subtype="FLOAT")
    np.testing.assert_allclose(decode_audio(file.getvalue(), limits).samples, 0.25, atol=1e-3)


def test_chained_ogg_is_one_sound(encoder, limits):
    one = encoder("ogg", audio="libopus", seconds=1)
    two = bytearray(one)
    audio = decode_audio(one + bytes(two), limits)
    assert audio.duration_s == pytest.approx(2.0, abs=0.1)


def test_not_a_number_and_too_loud_are_tamed(encoder, limits):
    wild = np.array([[np.nan, np.inf, -np.inf, 5.0, -5.0, 0.5] * 100], np.float32)
    samples = decode_audio(encoder("wav", audio="pcm_f32le", rate=16_000, samples=wild), limits).samples
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1.0


def test_sound_of_a_video(files, limits):
    audio = decode_audio(files["video", "mp4"], limits)
    assert _loudest_hertz(audio.samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("key", [("video", "mov"), ("video", "gif"), ("image", "png"), ("text", "text")])
def test_nothing_to_hear(files, limits, key):
    with pytest.raises(MediaError) as caught:
        decode_audio(files[key], limits)
    assert caught.value.code in {"media.empty", "media.unsupported"}


def test_no_samples(limits):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(EmptyError):
        decode_audio(file.getvalue(), limits)


@pytest.mark.parametrize("name", ["wav", "ogg", "m4a", "webm"])
def test_truncated(files, limits, name):
    data = files["audio", name]
    kind = sniff(data, limits)
    with pytest.raises(TruncatedError):
        decode_audio(data[: len(data) * 2 // 3], limits, kind)
    with pytest.raises(TruncatedError):
        probe(data[: len(data) * 2 // 3], kind, limits)


def test_truncated_flac(files, limits):
    """Its blocks have no lengths: the end is missed only where decoding arrives there."""
    data = files["audio", "flac"]
    kind = sniff(data, limits)
    for end in range(len(data) // 2, len(data) - 200, 997):
        with pytest.raises(CorruptError):
            decode_audio(data[:end], limits, kind)


def test_streamed_wav_without_lengths_is_whole(files, limits):
    data = bytearray(files["audio", "wav"])
    data[4:8] = b"\xff" * 4
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    assert decode_audio(bytes(data), limits).duration_s == pytest.approx(2.0, abs=0.01)


def test_corrupt_flac(files, limits):
    data = bytearray(files["audio", "flac"])
    middle = len(data) // 2  # past the padding in the header
    data[middle : middle + 40] = bytes(b ^ 0xFF for b in data[middle : middle + 40])
    with pytest.raises(CorruptError):
        decode_audio(bytes(data), limits)


@pytest.mark.parametrize("name", FORMATS)
def test_too_long(files, name):
    short = Limits(max_audio_s=1.0)
    data = files["audio", name]
    kind = sniff(data, short)
    for refuse in (probe, lambda d, k, lim: decode_audio(d, lim, k)):
        with pytest.raises(TooLongError) as caught:
            refuse(data, kind, short)
        assert caught.value.limit == "max_audio_s=1"


def test_a_header_that_lies_about_its_length(files):
    """The header says one sample; the limit holds for what comes out."""
    data = bytearray(files["audio", "flac"])
    at = 4 + 4 + 13  # the total of samples in STREAMINFO: 36 bits
    data[at] &= 0xF0
    data[at + 1 : at + 5] = (1).to_bytes(4)
    with pytest.raises(TooLongError):
        decode_audio(bytes(data), Limits(max_audio_s=1.0))


def test_one_sample_a_second_does_not_become_hours(files, limits):
    data = bytearray(files["audio", "wav"])
    at = data.index(b"fmt ") + 12
    data[at : at + 4] = (1).to_bytes(4, "little")
    with pytest.raises((CorruptError, TooLongError)):
        decode_audio(bytes(data), limits)
    with pytest.raises(CorruptError):
        decode_audio(bytes(data), Limits(max_audio_s=1e6))


def test_live_webm_has_no_duration_in_its_header(encoder, limits):
    file = io.BytesIO()
    source = encoder("webm", audio="libopus")
    with (
        av.open(io.BytesIO(source)) as reader,
        av.open(file, "w", format="webm", options={"live": "1"}) as writer,
    ):
        stream = writer.add_stream_from_template(reader.streams.audio[0])
        for packet in reader.demux(reader.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                writer.mux(packet)
    live = file.getvalue()
    with av.open(io.BytesIO(live)) as reader:
        assert reader.duration is None
    assert probe(live, sniff(live, limits), limits).duration_s == pytest.approx(2.0, abs=0.08)


def test_wave_picture(files, limits):
    data = files["audio", "ogg"]
    picture = Image.open(io.BytesIO(thumbnail(data, sniff(data, limits), limits)))
    assert (picture.format, picture.size) == ("WEBP", (256, 128))
    extrema = picture.convert("L").getextrema()
    assert extrema[0] < 128 < extrema[1]


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_beginning_is_decoded(files, limits, monkeypatch, name):
    data = files["audio", name]
    whole = decode_audio(data, limits).samples
    decoded: list[int] = []
    push = Resampler.push

    def counted(self, frame):
        decoded.append(0 if frame is None else frame.samples * SAMPLE_RATE_HZ // frame.sample_rate)
        return push(self, frame)

    monkeypatch.setattr(Resampler, "push", counted)
    first = decode_audio(data, limits, first_s=0.5)
    assert first.duration_s == 0.5
    np.testing.assert_array_equal(first.samples, whole[: first.samples.size])
    assert sum(decoded) < 0.8 * SAMPLE_RATE_HZ  # of two seconds
    with pytest.raises(TooLongError):  # what is not decoded is still too long
        decode_audio(data, Limits(max_audio_s=1.5), first_s=0.5)
