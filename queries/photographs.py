"""An item's picture as somebody would photograph it: on a table or a wall, askew, in some light, as a JPEG.

The thing is seen in perspective, turned, partly out of the frame; it stands over a plain, graded, striped,
woven or speckled ground with a soft shadow; light falls from one side, in some colour; the lens is not quite
sharp, the sensor is noisy. Grounds are drawn from numbers: no picture of the catalogue is behind another.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from catalogue.errors import GenerationError
from catalogue.pictures import load_rgba
from queries.errors import SourceError

__all__ = ["SIZES_PX", "photograph"]

SIZES_PX = ((640, 480), (480, 640), (600, 600), (640, 512), (512, 640))
"""Width and height: what a phone keeps as a preview."""
SPRITE_PX = 520
MAX_TURN_DEGREES = 25.0
MAX_SLANT = 0.09
SHADOW_SHARE = 0.45

Floats = NDArray[np.float32]


def photograph(picture: Path, random: np.random.Generator) -> bytes:
    """The bytes of a JPEG.

    Raises:
        SourceError: the picture cannot be read or shows nothing.
    """
    try:
        sprite = load_rgba(picture, SPRITE_PX)
    except GenerationError as error:
        raise SourceError(str(error)) from error
    width, height = SIZES_PX[int(random.integers(len(SIZES_PX)))]
    ground = _ground(width, height, random)
    corners = _corners(sprite, width, height, random)
    placed = sprite.transform(
        (width, height), Image.Transform.PERSPECTIVE, _perspective(corners, sprite), Image.Resampling.BICUBIC
    )
    thing = np.asarray(placed, np.float32)
    shown = thing[..., 3:] / 255
    seen: Floats = (_shadowed(ground, placed, random) * (1 - shown) + thing[..., :3] * shown).astype(
        np.float32
    )
    return _jpeg(_noisy(_blurred(_lit(seen, random), random), random), random)


def _corners(sprite: Image.Image, width: int, height: int, random: np.random.Generator) -> Floats:
    """Where the sprite's corners come to lie, FP32 [4, 2], clockwise from the upper left."""
    scale = random.uniform(0.62, 0.95) * min(width / sprite.width, height / sprite.height)
    half = np.array([sprite.width, sprite.height]) * scale / 2
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    slanted = square + random.uniform(-MAX_SLANT, MAX_SLANT, (4, 2)) * 2 * half.max()
    turn = math.radians(random.uniform(-MAX_TURN_DEGREES, MAX_TURN_DEGREES))
    turned = slanted @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    # up to a tenth of the frame from the middle: a part of a large thing may be cut off
    middle = np.array([width, height]) * random.uniform(0.4, 0.6, 2)
    return np.asarray(turned + middle, np.float32)


def _perspective(corners: Floats, sprite: Image.Image) -> tuple[float, ...]:
    """Pillow's eight coefficients: from a pixel of the photograph back to one of the sprite."""
    width, height = sprite.size
    back = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    rows = []
    for (x, y), (u, v) in zip(corners.astype(np.float64), back, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return tuple(np.linalg.solve(np.array(rows), back.ravel()).tolist())


def _ground(width: int, height: int, random: np.random.Generator) -> Floats:
    """FP32 [H, W, 3], 0..255."""
    base = random.uniform(40, 240) + random.uniform(-35, 35, 3)
    other = base + random.uniform(-70, 70) + random.uniform(-20, 20, 3)
    kinds = (_plain, _graded, _striped, _woven, _speckled, _grained)
    share = kinds[int(random.integers(len(kinds)))](width, height, random)[..., np.newaxis]
    return np.clip(base * (1 - share) + other * share, 0, 255).astype(np.float32)


def _plain(width: int, height: int, random: np.random.Generator) -> Floats:
    return np.full((height, width), random.uniform(), np.float32)


def _graded(width: int, height: int, random: np.random.Generator) -> Floats:
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = random.uniform(0, 2 * math.pi)
    along = rows / height * math.sin(angle) + columns / width * math.cos(angle)
    share: Floats = (along - along.min()) / (along.max() - along.min())
    return share


def _striped(width: int, height: int, random: np.random.Generator) -> Floats:
    """Boards of a table."""
    boards = _graded(width, height, random) * random.integers(3, 9)
    tone = random.uniform(0, 1, int(boards.max()) + 1)[boards.astype(int)]
    return np.where(boards % 1 < 0.03, 1.0, 0.5 * tone).astype(np.float32)


def _woven(width: int, height: int, random: np.random.Generator) -> Floats:
    """Cloth."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    thread = random.uniform(3, 12)
    share: Floats = 0.5 + 0.25 * (np.sin(rows * 2 * np.pi / thread) + np.sin(columns * 2 * np.pi / thread))
    return share


def _speckled(width: int, height: int, random: np.random.Generator) -> Floats:
    """Stone or carpet: noise of one grain over noise of another."""
    coarse = _noise(width, height, int(random.integers(4, 16)), int(random.integers(4, 16)), random)
    fine = _noise(width, height, width // 3, height // 3, random)
    return 0.6 * coarse + 0.4 * fine


def _grained(width: int, height: int, random: np.random.Generator) -> Floats:
    """Wood: noise drawn out in one direction."""
    return _noise(width, height, 3, int(random.integers(30, 90)), random)


def _noise(width: int, height: int, across: int, down: int, random: np.random.Generator) -> Floats:
    points = random.integers(0, 256, (down, across), dtype=np.uint8)
    smooth = Image.fromarray(points, "L").resize((width, height), Image.Resampling.BICUBIC)
    share: Floats = np.asarray(smooth, np.float32) / np.float32(255)
    return share


def _shadowed(ground: Floats, placed: Image.Image, random: np.random.Generator) -> Floats:
    dx, dy = (int(offset) for offset in random.integers(-14, 15, 2))
    outline = placed.getchannel("A").transform(placed.size, Image.Transform.AFFINE, (1, 0, -dx, 0, 1, -dy))
    soft = np.asarray(outline.filter(ImageFilter.GaussianBlur(random.uniform(4, 14))), np.float32) / 255
    dark = 1 - random.uniform(0, SHADOW_SHARE) * soft[..., np.newaxis]
    return np.asarray(ground * dark, np.float32)


def _lit(seen: Floats, random: np.random.Generator) -> Floats:
    """Brightness, contrast, the colour of the light, and its fall from one side to the other."""
    height, width = seen.shape[:2]
    fall = 1 - random.uniform(0, 0.4) * _graded(width, height, random)[..., np.newaxis]
    warm = random.uniform(-0.1, 0.1)
    colour = np.array([1 + warm, 1.0, 1 - warm], np.float32)
    bent = 255 * (np.clip(seen, 0, 255) / 255) ** random.uniform(0.8, 1.25)
    return np.asarray(bent * fall * colour * random.uniform(0.85, 1.15), np.float32)


def _blurred(seen: Floats, random: np.random.Generator) -> Floats:
    image = Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8), "RGB")
    return np.asarray(image.filter(ImageFilter.GaussianBlur(random.uniform(0.2, 1.8))), np.float32)


def _noisy(seen: Floats, random: np.random.Generator) -> NDArray[np.uint8]:
    noise = random.normal(0, random.uniform(1, 9), seen.shape)
    return np.clip(seen + noise, 0, 255).astype(np.uint8)


def _jpeg(pixels: NDArray[np.uint8], random: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(file, "JPEG", quality=int(random.integers(35, 86)), subsampling=2)
    return file.getvalue()
