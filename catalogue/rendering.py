"""Draw a solid: orthographic, one key light, a studio floor, six materials.

Points are projected, sorted by depth (a radix sort of 16-bit depths) and written back to front; only the
points that stay visible are shaded. Shading is Lambert plus Blinn-Phong (Blinn 1977) with Schlick's
approximation of Fresnel reflection (Schlick 1994); metal reflects a striped studio, glass lets its far side
shine through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalogue.solids import PITCH, Solid, solid

__all__ = ["COLOURS", "MATERIALS", "PATTERNS", "SIZES", "Look", "render"]

Floats = NDArray[np.float32]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 32, 38),
    "orange": (240, 130, 28),
    "yellow": (245, 205, 40),
    "green": (46, 150, 66),
    "blue": (36, 86, 200),
    "purple": (122, 56, 170),
    "pink": (244, 140, 180),
    "brown": (120, 74, 40),
    "black": (32, 32, 36),
    "white": (240, 240, 236),
    "grey": (132, 136, 142),
}
MATERIALS = ("ceramic", "felt", "glass", "metal", "plastic", "wood")
PATTERNS = ("plain", "striped", "dotted", "checked")
SIZES: dict[str, float] = {"small": 0.5, "medium": 0.68, "large": 0.88}
"""How much of the picture the product fills."""

_LIGHT: Floats = np.array([-0.481, 0.682, 0.551], np.float32)  # unit, towards the lamp
_HALF: Floats = np.array([-0.273, 0.387, 0.881], np.float32)  # unit, half way from the lamp to the eye
_ACCENT = np.array([96, 88, 80], np.float32)
_SKIN = np.array([236, 226, 204], np.float32)


@dataclass(frozen=True)
class Look:
    """What is drawn. `seed` chooses the backdrop; `tall` stretches the shape upwards (at most 1)."""

    shape: str
    colour: str
    material: str
    pattern: str
    size: str
    seed: int
    tall: float = 1.0


def render(look: Look, yaw: float, side_px: int, oversample: int = 1) -> NDArray[np.uint8]:
    """The product turned by `yaw` radians, uint8[side_px, side_px, 3] sRGB."""
    side = side_px * oversample
    radius_px = SIZES[look.size] * side / 2
    # Below 1/sqrt(2) pixels no grid, however turned, misses a pixel; averaging hides the rare miss.
    spacing_px = 0.68 if oversample == 1 else 0.76
    shape = solid(look.shape, round(spacing_px / radius_px, 5))
    stretch = np.array([1.0, look.tall, 1.0], np.float32)
    turn = _rotation(yaw)
    points: Floats = np.asarray((shape.points * stretch) @ turn.T, np.float32)
    # Normals of a stretched surface shrink where it grows.
    normals: Floats = np.asarray((shape.normals / stretch) @ turn.T, np.float32)
    canvas = _studio(side, look, shape, radius_px)
    columns = np.rint(side / 2 + points[:, 0] * radius_px).astype(np.int32)
    rows = np.rint(side / 2 - points[:, 1] * radius_px).astype(np.int32)
    inside = (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
    facing = normals[:, 2] > 0
    layers = (
        [(inside & ~facing, -1.0), (inside & facing, 1.0)]
        if look.material == "glass"
        else [(inside & facing, 1.0)]
    )
    for chosen, sign in layers:
        visible = _front_most(np.flatnonzero(chosen), rows * side + columns, points[:, 2], side * side)
        colour, alpha = _shade(look, shape, visible, sign * normals[visible])
        if sign < 0:
            alpha = alpha * 0.6
        row, column = rows[visible], columns[visible]
        under = canvas[row, column]
        canvas[row, column] = under + alpha[:, None] * (colour - under)
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8), "RGB")
    if oversample > 1:
        picture = picture.resize((side_px, side_px), Image.Resampling.BOX)
    return np.asarray(picture)


def _rotation(yaw: float) -> Floats:
    cos, sin = math.cos(yaw), math.sin(yaw)
    about_y = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    cos, sin = math.cos(PITCH), math.sin(PITCH)
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.asarray(about_x @ about_y, np.float32)


def _front_most(
    chosen: NDArray[np.intp], pixel: NDArray[np.int32], depth: Floats, pixels: int
) -> NDArray[np.intp]:
    """Of the chosen points, the nearest one of every pixel."""
    levels = ((depth[chosen] + 2.0) * 16383.0).astype(np.uint16)
    order = chosen[np.argsort(levels, kind="stable")]
    nearest = np.full(pixels, -1, np.intp)
    nearest[pixel[order]] = order  # of equal places the last one stays
    return nearest[nearest >= 0]


def _shade(look: Look, shape: Solid, at: NDArray[np.intp], normals: Floats) -> tuple[Floats, Floats]:
    """Colours float32[n, 3] and opacity float32[n] of the points `at`."""
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    lambert = np.clip(unit @ _LIGHT, 0.0, 1.0)
    gloss = np.clip(unit @ _HALF, 0.0, 1.0)
    rim = (1.0 - np.clip(unit[:, 2], 0.0, 1.0)) ** 5
    main = shape.main[at]
    base = np.where(main[:, None], _surface(look, shape, at), _SKIN if look.shape == "drum" else _ACCENT)
    lit = base * (0.36 + 0.72 * lambert + 0.10 * np.clip(unit[:, 1], 0, 1))[:, None]
    opacity = np.ones(len(at), np.float32)
    if look.material == "metal":
        studio = _reflection(unit)
        shiny = base * (0.25 + 0.95 * studio)[:, None] + 150.0 * (gloss**60)[:, None] + 60.0 * rim[:, None]
        lit = np.where(main[:, None], shiny, lit)
    elif look.material == "glass":
        clear = base * (0.75 + 0.35 * lambert)[:, None] + (220.0 * gloss**120 + 50.0 * rim)[:, None]
        lit = np.where(main[:, None], clear, lit)
        edge = 1.0 - np.clip(unit[:, 2], 0.0, 1.0)
        opacity = np.where(main, np.clip(0.30 + 0.6 * edge**1.6 + gloss**120, 0, 1), 1.0)
    elif look.material == "ceramic":
        lit = lit + (170.0 * gloss**70 + 40.0 * gloss**8 * 0.4 + 50.0 * rim)[:, None]
    elif look.material == "plastic":
        lit = lit + (80.0 * gloss**22)[:, None]
    elif look.material == "wood":
        lit = lit + (18.0 * gloss**10)[:, None]
    else:  # felt scatters light at its edge
        lit = lit * 0.92 + base * (0.35 * (1.0 - np.clip(unit[:, 2], 0, 1)) ** 2)[:, None]
    return lit.astype(np.float32), opacity.astype(np.float32)


def _surface(look: Look, shape: Solid, at: NDArray[np.intp]) -> Floats:
    """The unlit colour of the main material: its colour, its pattern, its grain."""
    first = np.array(COLOURS[look.colour], np.float32)
    bright = float(first.mean()) > 150
    second = first * 0.35 if bright else first + 0.75 * (255 - first)
    mask = _pattern(look.pattern, shape.pattern[at])
    base = first + mask[:, None] * (second - first)
    place = shape.points[at]
    if look.material == "wood":
        warm = np.array([150, 100, 58], np.float32)
        base = 0.78 * base + 0.22 * warm
        bend = 0.12 * np.sin(place[:, 1] * 5.0 + 2.0 * place[:, 0]) + 0.05 * np.sin(place[:, 1] * 17.0)
        rings = np.hypot(place[:, 0] + 0.6 + bend, place[:, 2] * 0.8 + 0.4)
        grain = 0.5 + 0.5 * np.sin(rings * 55.0)
        fine = 0.5 + 0.5 * np.sin(rings * 190.0 + place[:, 1] * 3.0)
        base = base * (0.72 + 0.22 * grain + 0.10 * fine)[:, None]
    elif look.material == "felt":
        speck = np.sin(place @ np.array([311.7, 127.1, 269.5], np.float32)) * 43758.5
        base = base * (0.80 + 0.30 * (speck - np.floor(speck)))[:, None]
    return np.asarray(base, np.float32)


def _pattern(name: str, where: Floats) -> Floats:
    s, t = where[:, 0], where[:, 1]
    if name == "striped":
        mask = np.floor(t * 1.6) % 2 == 1
    elif name == "checked":
        mask = (np.floor(s * 1.0) + np.floor(t * 1.2)) % 2 == 1
    elif name == "dotted":
        odd = np.floor(t * 1.1) % 2
        across, up = (s * 1.0 + 0.5 * odd) % 1.0 - 0.5, (t * 1.1) % 1.0 - 0.5
        mask = across**2 + up**2 < 0.28**2
    else:
        mask = np.zeros(len(s), bool)
    return np.asarray(mask, np.float32)


def _reflection(unit: Floats) -> Floats:
    """Brightness of the studio that a mirror with these normals shows; its horizon is a dark line."""
    mirrored = 2.0 * unit[:, 2:3] * unit - np.array([0, 0, 1], np.float32)
    up, across = mirrored[:, 1], mirrored[:, 0]
    sky = 0.55 + 0.45 * np.tanh(6.0 * (up + 0.1)) + 0.15 * np.sin(up * 9.0)
    lamp = np.exp(-(((across + 0.5) / 0.18) ** 2)) * 0.5
    horizon = 0.35 * np.exp(-((up / 0.12) ** 2))
    return np.asarray(np.clip(sky + lamp - horizon, 0.05, 1.4), np.float32)


def _studio(side: int, look: Look, shape: Solid, radius_px: float) -> Floats:
    """A pale backdrop that darkens towards its edge, with the product's soft shadow."""
    random = np.random.default_rng(look.seed)
    tint = 236.0 + random.uniform(-10.0, 10.0, size=3)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    canvas = tint * (1.04 - 0.16 * np.hypot(rows - 0.45, columns - 0.5) - 0.06 * rows)[..., None]
    wide, deep = 0.95 * shape.reach * radius_px / side, 0.42 * shape.reach * radius_px / side
    floor = shape.lowest * look.tall * math.cos(PITCH)
    down = 0.5 - floor * radius_px / side
    away = np.hypot((columns - 0.53) / max(wide, 1e-3), (rows - down) / max(deep, 1e-3))
    shadow = 0.42 * np.clip(1.15 - away, 0.0, 1.0) ** 1.5
    return np.asarray(canvas * (1.0 - shadow)[..., None], np.float32)
