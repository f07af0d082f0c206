"""Shapes of the generated products, as points on their surfaces.

A shape is a list of parts; a part is a dense grid of points with normals and pattern coordinates. Points are
what `rendering` draws: no mesh, no rasteriser, only NumPy. Coordinates are in object units, y up; a finished
shape is centred and, however it is turned, fits a picture that is 2 units wide and high.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["PITCH", "SHAPES", "Solid", "solid"]

PITCH = math.radians(22)
"""How far the camera looks down; shapes are scaled to fit its picture at every turn."""

Floats = NDArray[np.float32]
Profile = Sequence[tuple[float, float]]
"""(radius, height) corners of the outline that turns about the y axis, from the bottom middle outwards."""


@dataclass(frozen=True)
class Solid:
    """Points float32[n, 3], outward normals float32[n, 3] (not unit), pattern coordinates float32[n, 2].

    `main` is bool[n]: true where the product's own material and colour are, false on an accent such as a
    drum's skin. `reach` is the largest distance from the y axis, `lowest` the smallest y.
    """

    points: Floats
    normals: Floats
    pattern: Floats
    main: NDArray[np.bool_]
    reach: float
    lowest: float


@dataclass
class _Builder:
    """Collects parts. `step` is the distance between neighbouring points in object units."""

    step: float
    points: list[Floats] = field(default_factory=list)
    normals: list[Floats] = field(default_factory=list)
    pattern: list[Floats] = field(default_factory=list)
    main: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, points: Floats, normals: Floats, pattern: Floats, main: bool) -> None:
        flat = points.reshape(-1, 3)
        self.points.append(flat.astype(np.float32))
        self.normals.append(normals.reshape(-1, 3).astype(np.float32))
        self.pattern.append(pattern.reshape(-1, 2).astype(np.float32))
        self.main.append(np.full(len(flat), main))

    def revolve(self, profile: Profile, round_off: float = 0.03, main: bool = True) -> None:
        """Turn an outline about the y axis; corners are rounded over about `round_off`."""
        outline = _smooth(_resample(np.array(profile, np.float64), self.step), round_off / self.step)
        tangent = np.gradient(outline, axis=0)
        radius, height = np.maximum(outline[:, 0], 0.0), outline[:, 1]
        across, up = tangent[:, 1], -tangent[:, 0]
        # An even number of pattern cells around, about as wide as they are high.
        cells = 2 * max(2, round(3.3 * math.pi * float(radius.max())))
        # Rings get as many points as their circumference needs.
        for ring in range(len(outline)):
            count = max(8, math.ceil(2 * math.pi * radius[ring] / self.step))
            turn = 2 * math.pi * (np.arange(count) + 0.5 * (ring % 2)) / count
            cos, sin = np.cos(turn), np.sin(turn)
            level = np.full(count, height[ring])
            points = np.stack([radius[ring] * cos, level, radius[ring] * sin], axis=1)
            normals = np.stack([across[ring] * cos, np.full(count, up[ring]), across[ring] * sin], axis=1)
            self.add(points, normals, np.stack([turn / (2 * math.pi) * cells, level * 3.0], axis=1), main)

    def tube(self, path: Floats, radius: float | Floats, main: bool = True) -> None:
        """Sweep a circle along points float[n, 3]; `radius` may change along the way."""
        spine = _resample(np.asarray(path, np.float64), self.step)
        along = np.gradient(spine, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        # The axis that the path stays farthest from, so that no cross product comes near zero.
        reference = np.eye(3)[int(np.argmin(abs(along).max(axis=0)))]
        side = np.cross(along, reference)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        third = np.cross(along, side)
        thick = np.interp(np.linspace(0, 1, len(spine)), np.linspace(0, 1, np.size(radius)), np.ravel(radius))
        count = max(8, math.ceil(2 * math.pi * float(thick.max()) / self.step))
        turn = 2 * math.pi * np.arange(count) / count
        out = np.cos(turn)[None, :, None] * side[:, None, :] + np.sin(turn)[None, :, None] * third[:, None, :]
        points = spine[:, None, :] + thick[:, None, None] * out
        self.add(points, out, np.stack([points[..., 0] * 3, points[..., 1] * 3], axis=-1), main)

    def slab(
        self, centre: Sequence[float], half: Sequence[float], edge: float = 0.03, main: bool = True
    ) -> None:
        """A box with rounded edges of radius `edge`; `half` is half its width, height and depth."""
        middle, extent = np.array(centre), np.array(half)
        inner = np.maximum(extent - edge, 0.0)
        for axis in range(3):
            first, second = (other for other in range(3) if other != axis)
            grid = [
                np.linspace(-extent[side], extent[side], max(2, math.ceil(2 * extent[side] / self.step)))
                for side in (first, second)
            ]
            a, b = np.meshgrid(*grid, indexing="ij")
            for sign in (-1.0, 1.0):
                face = np.empty((*a.shape, 3))
                face[..., axis] = sign * extent[axis]
                face[..., first], face[..., second] = a, b
                core = np.clip(face, -inner, inner)
                normal = face - core
                normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
                points = middle + core + edge * normal
                self.add(points, normal, np.stack([a * 3, b * 3], axis=-1), main)

    def finish(self) -> Solid:
        points = np.concatenate(self.points)
        low, high = points.min(axis=0), points.max(axis=0)
        centre = np.array([0.0, (low[1] + high[1]) / 2, 0.0], np.float32)
        points = points - centre
        reach = np.hypot(points[:, 0], points[:, 2])
        up = abs(points[:, 1]) * math.cos(PITCH) + reach * math.sin(PITCH)
        scale = 1.0 / max(float(reach.max()), float(up.max()))
        points *= scale
        return Solid(
            points.astype(np.float32),
            np.concatenate(self.normals),
            np.concatenate(self.pattern),
            np.concatenate(self.main),
            reach=float(reach.max()) * scale,
            lowest=float(points[:, 1].min()),
        )


def _resample(corners: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(lengths)])
    wanted = np.linspace(0.0, at[-1], max(3, math.ceil(at[-1] / step)))
    return np.stack([np.interp(wanted, at, corners[:, axis]) for axis in range(corners.shape[1])], axis=1)


def _smooth(line: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    half = max(1, round(width))
    kernel = np.hanning(2 * half + 3)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(line, ((half, half), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, axis], kernel, "valid") for axis in range(2)], axis=1)


def _arc(x: float, y: float, radius_x: float, radius_y: float, start: float, end: float) -> Floats:
    """Points of an ellipse in the plane z = 0, from `start` to `end` in degrees."""
    turn = np.radians(np.linspace(start, end, 120))
    return np.stack([x + radius_x * np.cos(turn), y + radius_y * np.sin(turn), 0 * turn], 1).astype(
        np.float32
    )


def _circle_profile(radius: float, height: float) -> Profile:
    turn = np.radians(np.linspace(-90, 90, 240))
    return [(radius * math.cos(angle), height + radius * math.sin(angle)) for angle in turn]


def _ball(make: _Builder) -> None:
    make.revolve(_circle_profile(1.0, 0.0), 0.01)


def _bell(make: _Builder) -> None:
    outer = [(0.9, -0.8), (0.78, -0.6), (0.62, -0.2), (0.55, 0.3), (0.42, 0.55), (0.2, 0.66), (0.0, 0.68)]
    inner = [(0.0, 0.5), (0.35, 0.4), (0.47, 0.1), (0.55, -0.3), (0.82, -0.8)]
    make.revolve([*inner, *outer], 0.05)
    make.tube(_arc(0.0, 0.84, 0.16, 0.18, -90, 270), 0.05)
    make.revolve(_circle_profile(0.15, -0.82), 0.01, main=False)


def _bottle(make: _Builder) -> None:
    body = [(0.0, -1.0), (0.38, -1.0), (0.4, -0.9), (0.4, 0.1), (0.34, 0.32), (0.16, 0.5), (0.13, 0.85)]
    make.revolve([*body, (0.17, 0.86), (0.17, 0.96), (0.0, 0.96)], 0.06)
    make.revolve([(0.0, 0.94), (0.11, 0.94), (0.11, 1.08), (0.0, 1.08)], main=False)


def _bowl(make: _Builder) -> None:
    outer = [(0.0, -0.5), (0.4, -0.5), (0.42, -0.42), (0.75, -0.2), (0.94, 0.15), (1.0, 0.45)]
    make.revolve([*outer, (0.93, 0.45), (0.85, 0.15), (0.66, -0.12), (0.3, -0.3), (0.0, -0.33)], 0.05)


def _box(make: _Builder) -> None:
    make.slab((0, -0.15, 0), (0.8, 0.45, 0.6), 0.04)
    make.slab((0, 0.4, 0), (0.85, 0.1, 0.65), 0.05)
    make.revolve(_circle_profile(0.1, 0.56), 0.01, main=False)


def _chair(make: _Builder) -> None:
    make.slab((0, 0, 0), (0.5, 0.06, 0.5), 0.05)
    for x in (-0.42, 0.42):
        make.tube(np.array([(x, -0.02, 0.42), (x * 1.08, -0.95, 0.46)], np.float32), 0.055)
        make.tube(np.array([(x, 1.05, -0.5), (x, 0.0, -0.44), (x * 1.08, -0.95, -0.5)], np.float32), 0.055)
    make.slab((0, 0.85, -0.48), (0.46, 0.14, 0.035), 0.03)
    make.slab((0, 0.45, -0.46), (0.42, 0.08, 0.03), 0.03)


def _drum(make: _Builder) -> None:
    make.revolve([(0.0, -0.5), (0.8, -0.5), (0.8, 0.46), (0.0, 0.46)], 0.02)
    make.revolve([(0.0, 0.46), (0.76, 0.46), (0.76, 0.52), (0.0, 0.53)], 0.02, main=False)
    for height in (-0.46, 0.46):
        ring = _arc(0.0, 0.0, 0.82, 0.82, 0, 360)[:, (0, 2, 1)]
        make.tube(ring + np.array([0, height, 0], np.float32), 0.05, main=False)


def _lamp(make: _Builder) -> None:
    make.revolve([(0.0, -1.0), (0.42, -1.0), (0.42, -0.94), (0.1, -0.86), (0.0, -0.85)], main=False)
    make.tube(np.array([(0, -0.9, 0), (0, 0.5, 0)], np.float32), 0.045, main=False)
    make.revolve([(0.66, 0.1), (0.38, 0.95), (0.33, 0.95), (0.61, 0.1), (0.66, 0.1)], 0.02)
    make.revolve(_circle_profile(0.13, 0.5), 0.01, main=False)


def _mug(make: _Builder) -> None:
    outer = [(0.0, -0.7), (0.52, -0.7), (0.58, -0.62), (0.6, 0.7)]
    make.revolve([*outer, (0.53, 0.7), (0.51, -0.5), (0.0, -0.55)], 0.04)
    make.tube(_arc(0.58, 0.02, 0.36, 0.42, -92, 92), 0.075)


def _stool(make: _Builder) -> None:
    make.revolve([(0.0, 0.3), (0.58, 0.3), (0.62, 0.38), (0.58, 0.46), (0.0, 0.48)], 0.04)
    for angle in (30, 150, 270):
        out = np.array([math.cos(math.radians(angle)), 0.0, math.sin(math.radians(angle))])
        ends = np.array([0.38 * out + (0, 0.36, 0), 0.62 * out + (0, -0.85, 0)], np.float32)
        make.tube(ends, np.array([0.07, 0.05], np.float32))
    make.tube(_arc(0.0, 0.0, 0.5, 0.5, 0, 360)[:, (0, 2, 1)] - np.array([0, 0.3, 0], np.float32), 0.03)


def _teapot(make: _Builder) -> None:
    make.revolve([(0.0, -0.55), (0.4, -0.55), (0.66, -0.25), (0.68, 0.05), (0.5, 0.38), (0.0, 0.42)], 0.08)
    make.revolve([(0.0, 0.38), (0.42, 0.4), (0.3, 0.52), (0.0, 0.56)], 0.03)
    make.revolve(_circle_profile(0.11, 0.62), 0.01, main=False)
    spout = np.array([(0.5, -0.25, 0), (0.78, -0.12, 0), (0.9, 0.2, 0), (1.08, 0.4, 0)], np.float32)
    make.tube(spout, np.array([0.2, 0.13, 0.09, 0.08], np.float32))
    make.tube(_arc(-0.6, -0.02, 0.4, 0.34, 90, 270), 0.07)


def _vase(make: _Builder) -> None:
    outer = [(0.0, -1.0), (0.32, -1.0), (0.36, -0.9), (0.62, -0.3), (0.6, 0.05), (0.3, 0.55), (0.26, 0.75)]
    make.revolve([*outer, (0.42, 1.0), (0.36, 1.0), (0.2, 0.75), (0.24, 0.55), (0.0, 0.3)], 0.1)


_MAKERS: dict[str, Callable[[_Builder], None]] = {
    "ball": _ball,
    "bell": _bell,
    "bottle": _bottle,
    "bowl": _bowl,
    "box": _box,
    "chair": _chair,
    "drum": _drum,
    "lamp": _lamp,
    "mug": _mug,
    "stool": _stool,
    "teapot": _teapot,
    "vase": _vase,
}
SHAPES = tuple(_MAKERS)


@functools.lru_cache(maxsize=4)
def solid(shape: str, step: float) -> Solid:
    """The points of a shape, at most about `step` apart.

    The last few are kept, as frames share them; a large ball at full size has two million points, 60 MB.
    """
    make = _Builder(step)
    _MAKERS[shape](make)
    return make.finish()
