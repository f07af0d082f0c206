"""Other views of a picture: mirrored, turned, moved, cropped, on another ground, in other light."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from media.inputs import image_input

__all__ = ["view"]

Pixels = npt.NDArray[np.uint8]
WORKING_PX = 400


def view(picture: Pixels, seed: int) -> Pixels:
    """uint8 [H, W, 3] over white -> uint8 [260, 260, 3]; the same for the same seed."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(picture)
    image.thumbnail((WORKING_PX, WORKING_PX))
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


def _offset(rng: np.random.Generator, room: int) -> int:
    return int(rng.integers(0, room + 1))
