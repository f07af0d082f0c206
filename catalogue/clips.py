"""A short clip of a stamp: its picture turns, zooms and wanders over a background, with its sound."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from PIL import Image

from catalogue.errors import GenerationError
from catalogue.mp4 import SAMPLE_RATE_HZ, write_mp4
from catalogue.pictures import load_rgba

__all__ = ["CLIP_FPS", "CLIP_SIZE_PX", "make_clip", "sound_track"]

CLIP_SIZE_PX = 320
CLIP_FPS = 15
_SILENT_S = 4.0
_MIN_S, _MAX_S = 3.0, 5.0
_GAP_S = 0.4
# Room around the view, so that the background can drift under it.
_MARGIN_PX = 48

Floats = NDArray[np.float32]


def make_clip(target: Path, item_id: str, picture: Path, effect: Path | None) -> None:
    """Write the clip of one item; the same inputs give the same motion, colours and length.

    Raises GenerationError.
    """
    seed = int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:8])
    random = np.random.default_rng(seed)
    samples = sound_track(effect) if effect else None
    seconds = len(samples) / SAMPLE_RATE_HZ if samples is not None else _SILENT_S
    sprite = load_rgba(picture, side_px=400)
    frames = _frames(sprite, random, round(seconds * CLIP_FPS))
    write_mp4(target, frames, CLIP_SIZE_PX, CLIP_FPS, samples)


def sound_track(effect: Path) -> Floats:
    """The effect as mono float32 at SAMPLE_RATE_HZ, 3 to 5 s: repeated with gaps, or cut with a fade."""
    try:
        stored, rate_hz = soundfile.read(effect, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise GenerationError(f"{effect.name}: {error}") from error
    mono = soxr.resample(stored.mean(axis=1), rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    once = np.concatenate([mono, np.zeros(int(_GAP_S * SAMPLE_RATE_HZ), np.float32)])
    wanted = int(min(max(len(mono) / SAMPLE_RATE_HZ, _MIN_S), _MAX_S) * SAMPLE_RATE_HZ)
    track = np.tile(once, -(-wanted // len(once)))[:wanted]
    fade = int(0.05 * SAMPLE_RATE_HZ)
    track[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    # A whole number of frames, so that picture and sound end together.
    per_frame = SAMPLE_RATE_HZ // CLIP_FPS
    return np.ascontiguousarray(track[: len(track) // per_frame * per_frame])


def _frames(sprite: Image.Image, random: np.random.Generator, count: int) -> Iterator[NDArray[np.uint8]]:
    background = _background(sprite, random)
    fit = 0.74 * CLIP_SIZE_PX / max(sprite.size)
    tilt = math.radians(random.uniform(8, 24)) * random.choice([-1.0, 1.0])
    breath = random.uniform(0.08, 0.2)
    wander_px = random.uniform(8, 26, size=2)
    phase = random.uniform(0, 2 * math.pi, size=3)
    for index in range(count):
        turn = 2 * math.pi * index / max(count, 1)
        angle = tilt * math.sin(turn + phase[0])
        scale = fit * (1.0 - breath * (0.5 + 0.5 * math.cos(turn + phase[1])))
        x = CLIP_SIZE_PX / 2 + wander_px[0] * math.sin(turn + phase[2])
        y = CLIP_SIZE_PX / 2 + wander_px[1] * math.sin(2 * turn + phase[2])
        drift = round(_MARGIN_PX / 2 * (1.0 + math.sin(turn + phase[1])))
        view = background.crop((drift, drift // 2, drift + CLIP_SIZE_PX, drift // 2 + CLIP_SIZE_PX))
        placed = _place(sprite, angle, scale, x, y)
        view.paste(placed, (0, 0), placed)
        yield np.asarray(view)


def _place(sprite: Image.Image, angle: float, scale: float, x: float, y: float) -> Image.Image:
    """The sprite turned about its middle, which comes to (x, y) of an empty view."""
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    middle_x, middle_y = sprite.width / 2, sprite.height / 2
    # Pillow wants the way back: from a pixel of the view to one of the sprite.
    back = (cos, sin, middle_x - cos * x - sin * y, -sin, cos, middle_y + sin * x - cos * y)
    size = (CLIP_SIZE_PX, CLIP_SIZE_PX)
    return sprite.transform(size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)


def _background(sprite: Image.Image, random: np.random.Generator) -> Image.Image:
    """One of five kinds, light behind a dark thing and dark behind a light one."""
    side = CLIP_SIZE_PX + _MARGIN_PX
    base, other = _two_colours(sprite, random)
    kinds = (_ramp, _glow, _stripes, _checks, _clouds)
    share = kinds[int(random.integers(len(kinds)))](side, random)[..., np.newaxis]
    pixels = base * (1.0 - share) + other * share
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def _two_colours(sprite: Image.Image, random: np.random.Generator) -> tuple[Floats, Floats]:
    pixels = np.asarray(sprite.convert("RGBA"), np.float32)
    shown = pixels[pixels[..., 3] > 128][:, :3]
    luma = float((shown @ np.array([0.299, 0.587, 0.114], np.float32)).mean()) if len(shown) else 128.0
    value = random.uniform(0.25, 0.4) if luma > 165 else random.uniform(0.82, 0.97)
    hue, colourful = random.uniform(), random.uniform(0.1, 0.4)

    def colour(shift: float, lift: float) -> Floats:
        turn = (hue + shift + np.array([0.0, 1 / 3, 2 / 3])) % 1.0
        wheel = 0.5 + 0.5 * np.cos(2 * np.pi * turn)
        return (255 * (value + lift) * (1 - colourful * (1 - wheel))).astype(np.float32)

    return colour(0.0, 0.0), colour(random.uniform(-0.15, 0.15), random.choice([-0.12, 0.1]))


def _grid(side: int) -> tuple[Floats, Floats]:
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    return rows / side, columns / side


def _ramp(side: int, random: np.random.Generator) -> Floats:
    rows, columns = _grid(side)
    angle = random.uniform(0, 2 * math.pi)
    along = rows * math.sin(angle) + columns * math.cos(angle)
    share: Floats = (along - along.min()) / (along.max() - along.min())
    return share


def _glow(side: int, random: np.random.Generator) -> Floats:
    rows, columns = _grid(side)
    y, x = random.uniform(0.3, 0.7, size=2)
    distance: Floats = np.clip(np.hypot(rows - y, columns - x) * 1.5, 0, 1)
    return distance


def _stripes(side: int, random: np.random.Generator) -> Floats:
    return ((_ramp(side, random) * random.integers(6, 14)) % 1.0 > 0.5).astype(np.float32)


def _checks(side: int, random: np.random.Generator) -> Floats:
    rows, columns = _grid(side)
    cells = int(random.integers(6, 12))
    return ((np.floor(rows * cells) + np.floor(columns * cells)) % 2).astype(np.float32)


def _clouds(side: int, random: np.random.Generator) -> Floats:
    coarse = random.integers(0, 256, size=(7, 7), dtype=np.uint8)
    smooth = Image.fromarray(coarse, "L").resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / 255.0
