"""Clips of stamps: length, sound, decodable, the same again; damaged inputs are typed errors."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from catalogue import GenerationError
from catalogue.clips import CLIP_FPS, CLIP_SIZE_PX, make_clip, sound_track
from catalogue.mp4 import SAMPLE_RATE_HZ
from catalogue.pictures import load_rgba


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    image = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((10, 5, 50, 35), fill=(200, 30, 30, 255))
    image.save(tmp_path / "disc.png")
    return tmp_path / "disc.png"


def tone(path: Path, seconds: float, rate_hz: int = 11_025, channels: int = 2) -> Path:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate_hz, format="OGG", subtype="VORBIS")
    return path


def probe(path: Path) -> tuple[int, float, float]:
    """(frames, seconds of picture, seconds of sound)."""
    with av.open(path) as container:
        assert container.streams.video[0].width == CLIP_SIZE_PX
        count = sum(1 for _ in container.decode(video=0))
    heard = 0.0
    with av.open(path) as container:
        for stream in container.streams.audio:
            heard = sum(frame.samples for frame in container.decode(stream)) / SAMPLE_RATE_HZ
    return count, count / CLIP_FPS, heard


def test_without_sound(tmp_path: Path, picture: Path) -> None:
    make_clip(tmp_path / "clip.mp4", "a.disc", picture, None)
    assert probe(tmp_path / "clip.mp4") == (4 * CLIP_FPS, 4.0, 0.0)


@pytest.mark.parametrize(("seconds", "expected"), [(0.3, 3.0), (3.6, 3.6), (9.0, 5.0)])
def test_with_sound(tmp_path: Path, picture: Path, seconds: float, expected: float) -> None:
    make_clip(tmp_path / "clip.mp4", "a.disc", picture, tone(tmp_path / "tone.ogg", seconds))
    _, shown, heard = probe(tmp_path / "clip.mp4")
    assert shown == pytest.approx(expected, abs=0.08)
    assert heard == pytest.approx(shown, abs=0.1)


def test_a_short_sound_is_repeated(tmp_path: Path) -> None:
    track = sound_track(tone(tmp_path / "tone.ogg", 0.5))
    assert track.dtype == np.float32
    second = SAMPLE_RATE_HZ
    assert np.abs(track[int(0.95 * second) : int(1.3 * second)]).max() > 0.3


def test_the_same_again_and_another_id_differs(tmp_path: Path, picture: Path) -> None:
    for name, item in (("one", "a.disc"), ("two", "a.disc"), ("three", "b.disc")):
        make_clip(tmp_path / f"{name}.mp4", item, picture, None)

    def first(name: str) -> np.ndarray:
        with av.open(tmp_path / f"{name}.mp4") as container:
            return next(container.decode(video=0)).to_ndarray(format="rgb24")

    assert np.array_equal(first("one"), first("two"))
    assert not np.array_equal(first("one"), first("three"))


def test_damaged_inputs_leave_no_file(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "bad.ogg").write_bytes(b"no sound")
    with pytest.raises(GenerationError, match=r"bad\.png"):
        make_clip(tmp_path / "clip.mp4", "x", tmp_path / "bad.png", None)
    with pytest.raises(GenerationError, match=r"bad\.ogg"):
        make_clip(tmp_path / "clip.mp4", "x", picture, tmp_path / "bad.ogg")
    assert not list(tmp_path.glob("*.mp4*")) + list(tmp_path.glob(".*"))


def test_svg_in_points_and_empty_pictures(tmp_path: Path) -> None:
    rectangle = '<rect width="20" height="9"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40pt" height="20pt">{rectangle}</svg>'
    (tmp_path / "box.svg").write_text(svg, encoding="utf-8")
    image = load_rgba(tmp_path / "box.svg", side_px=100)
    assert image.mode == "RGBA"
    assert max(image.size) == 100
    Image.new("RGBA", (5, 5)).save(tmp_path / "empty.png")
    with pytest.raises(GenerationError, match="shows nothing"):
        load_rgba(tmp_path / "empty.png", side_px=100)
