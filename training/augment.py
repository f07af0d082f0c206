"""Other views of a picture: mirrored, turned, moved, cropped, in other light, photographed."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from media.inputs import image_input

__all__ = ["photograph", "view"]

Pixels = npt.NDArray[np.uint8]
WORKING_PX = 400


def view(picture: Pixels, seed: int, working_px: int = WORKING_PX) -> Pixels:
    """uint8 [H, W, 3] over white -> uint8 [260, 260, 3]; the same for the same seed."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(picture)
    image.thumbnail((working_px, working_px))
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    ground = (
        (255, 255, 255) if rng.random() < 0.6 else tuple(int(value) for value in rng.integers(120, 256, 3))
    )
    turned = image.rotate(
        rng.uniform(-20, 20), expand=True, resample=Image.Resampling.BICUBIC, fillcolor=(255, 255, 255)
    )
    side = int(max(turned.size) * rng.uniform(1.0, 1.4))
    canvas = Image.new("RGB", (side, side), (255, 255, 255))
    canvas.paste(turned, (_offset(rng, side - turned.width), _offset(rng, side - turned.height)))
    # white takes the ground's colour, dark lines stay
    tinted = Image.fromarray((np.asarray(canvas, np.uint16) * np.array(ground) // 255).astype(np.uint8))
    kept = int(side * rng.uniform(0.8, 1.0))
    left, top = _offset(rng, side - kept), _offset(rng, side - kept)
    cropped: Image.Image = tinted.crop((left, top, left + kept, top + kept))
    for change, spread in (
        (ImageEnhance.Brightness, 0.3),
        (ImageEnhance.Color, 0.5),
        (ImageEnhance.Contrast, 0.3),
    ):
        cropped = change(cropped).enhance(rng.uniform(1 - spread, 1 + spread))
    return image_input(np.asarray(cropped))


def photograph(picture: Pixels, seed: int, working_px: int = WORKING_PX) -> Pixels:
    """As a hand-held camera sees a print of it: uint8 [H, W, 3] over white -> uint8 [260, 260, 3].

    The same for the same seed. In perspective, turned, on an uneven ground in uneven light, a little out of
    focus, saved as JPEG.
    """
    rng = np.random.default_rng(seed)
    image = Image.fromarray(picture)
    image.thumbnail((working_px, working_px))
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    side = int(max(image.size) * rng.uniform(1.05, 1.5))
    canvas = Image.new("RGB", (side, side), (255, 255, 255))
    canvas.paste(image, (_offset(rng, side - image.width), _offset(rng, side - image.height)))
    white = (255, 255, 255)
    turned = canvas.rotate(rng.uniform(-25, 25), resample=Image.Resampling.BILINEAR, fillcolor=white)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64) * side
    moved = corners + rng.uniform(-0.12, 0.12, (4, 2)) * side
    seen = turned.transform(
        (side, side),
        Image.Transform.PERSPECTIVE,
        _perspective(corners, moved),
        Image.Resampling.BILINEAR,
        fillcolor=white,
    )
    coarse = rng.uniform(0, 255, (4, 4, 3)) * rng.uniform(0.05, 0.35) + rng.uniform(100, 200, 3)
    ground = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize((side, side))
    # white takes the ground's colour, dark lines stay; the product is also the light's unevenness
    lit = (np.asarray(seen, np.uint16) * np.asarray(ground, np.uint16) // 255).astype(np.uint8)
    shot: Image.Image = Image.fromarray(lit)
    for change in (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast):
        shot = change(shot).enhance(rng.uniform(0.7, 1.4))
    shot = shot.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))
    stored = io.BytesIO()
    shot.save(stored, "JPEG", quality=int(rng.integers(25, 85)))
    return image_input(np.asarray(Image.open(stored)))


def _perspective(seen: npt.NDArray[np.float64], real: npt.NDArray[np.float64]) -> list[float]:
    """The eight coefficients that carry each of four seen corners [4, 2] to a real one."""
    rows, values = [], []
    for (x, y), (u, v) in zip(seen, real, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solved = np.linalg.solve(np.array(rows), np.array(values))
    return [float(value) for value in solved]


def _offset(rng: np.random.Generator, room: int) -> int:
    return int(rng.integers(0, room + 1))
