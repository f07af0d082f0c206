"""Photographs, clips and sounds: the same for a seed, and not what is indexed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from catalogue.clips import make_clip
from media import SAMPLE_RATE_HZ, Limits, decode_audio, decode_image, decode_video, sniff
from queries.clips import clip
from queries.errors import SourceError
from queries.photographs import SIZES_PX, photograph
from queries.sounds import VOICES, effect
from queries.types import chance


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = Image.new("RGBA", (120, 90))
    ImageDraw.Draw(image).ellipse((10, 10, 110, 80), fill=(220, 30, 40, 255))
    path = tmp_path_factory.mktemp("made") / "thing.png"
    image.save(path)
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    times = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    path = tmp_path_factory.mktemp("made") / "thing.ogg"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * times), SAMPLE_RATE_HZ)
    return path


def test_a_photograph_is_the_same_for_a_seed_and_differs_for_another(picture: Path) -> None:
    one = photograph(picture, chance("photograph", 0, "a"))
    assert one == photograph(picture, chance("photograph", 0, "a"))
    assert one != photograph(picture, chance("photograph", 0, "b"))
    assert one != photograph(picture, chance("photograph", 1, "a"))


def test_a_photograph_has_a_phones_size_and_still_shows_the_thing(picture: Path) -> None:
    for number in range(6):
        data = photograph(picture, chance(number))
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "JPEG"
            assert image.size in SIZES_PX
            pixels = np.asarray(image.convert("RGB"), np.int32)
        red = (pixels[..., 0] > pixels[..., 1] + 60) & (pixels[..., 0] > pixels[..., 2] + 60)
        assert 0.05 < red.mean() < 0.9


def test_a_photograph_is_not_what_is_indexed(picture: Path) -> None:
    data = photograph(picture, chance("a"))
    seen = Image.fromarray(decode_image(data, Limits())).resize((64, 64))
    stored = Image.fromarray(decode_image(picture.read_bytes(), Limits())).resize((64, 64))
    assert np.abs(np.asarray(seen, np.float32) - np.asarray(stored, np.float32)).mean() > 10


def test_a_clip_is_shorter_smaller_and_of_another_kind(picture: Path, sound: Path, tmp_path: Path) -> None:
    source = tmp_path / "thing.mp4"
    make_clip(source, "thing", picture, sound)
    data = clip(source, chance("a"))
    assert data == clip(source, chance("a"))
    assert data != clip(source, chance("b"))
    assert sniff(data, Limits()).format == "webm"
    before, after = decode_video(source.read_bytes(), Limits()), decode_video(data, Limits())
    assert 0.4 * before.duration_s < after.duration_s < 0.9 * before.duration_s
    assert after.frames.shape[1] < before.frames.shape[1]
    assert after.audio is not None


def test_an_effect_is_cut_quieter_and_of_another_kind(sound: Path) -> None:
    data = effect(sound, chance("a"))
    assert data == effect(sound, chance("a"))
    assert sniff(data, Limits()).format == "mp3"
    before, after = decode_audio(sound.read_bytes(), Limits()), decode_audio(data, Limits())
    assert 0.5 * before.samples.size < after.samples.size < 0.95 * before.samples.size


def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"bad\.png"):
        photograph(bad, chance("a"))
    with pytest.raises(SourceError, match=r"bad\.png"):
        clip(bad, chance("a"))
    with pytest.raises(SourceError, match=r"bad\.png"):
        effect(bad, chance("a"))


def test_no_voice_speaks_for_two_splits() -> None:
    voices = [voice for each in VOICES.values() for voice in each]
    assert len(voices) == len(set(voices))
