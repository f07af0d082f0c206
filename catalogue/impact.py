"""The sound of a product that is knocked: a sum of decaying partials and a short burst of noise.

The shape gives the ratios of the partials, the material how long they ring and how bright they are, the size
the pitch. This is modal synthesis (van den Doel and Pai, "The sounds of physical shapes", Presence 7(4),
1998); the ratios are those of free bars, circular plates and membranes and of bells (Fletcher and Rossing,
"The Physics of Musical Instruments", 1998), the ringing times are chosen by ear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SAMPLE_RATE_HZ", "knock"]

SAMPLE_RATE_HZ = 22_050
Floats = NDArray[np.float32]

_BAR = (1.0, 2.756, 5.404, 8.933, 13.34)
_PLATE = (1.0, 1.73, 2.33, 3.91, 4.11, 6.30)
_MEMBRANE = (1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156)
_BELL = (0.5, 1.0, 1.183, 1.506, 2.0, 2.514, 2.662, 3.011, 4.166)
_SHELL = (1.0, 1.88, 2.83, 3.96, 5.43)


@dataclass(frozen=True)
class _Ring:
    ring_s: float  # time in which the lowest partial falls by 60 dB
    bright: float  # how strong each partial is, relative to the one below
    damping: float  # how much faster high partials die
    noise: float  # strength of the contact noise


_MATERIAL = {
    "metal": _Ring(2.2, 0.80, 0.5, 0.10),
    "glass": _Ring(0.9, 0.62, 0.7, 0.15),
    "ceramic": _Ring(0.35, 0.60, 0.9, 0.25),
    "wood": _Ring(0.13, 0.45, 1.1, 0.45),
    "plastic": _Ring(0.09, 0.35, 1.3, 0.40),
    "felt": _Ring(0.05, 0.12, 2.0, 0.12),
}
_SHAPE: dict[str, tuple[tuple[float, ...], float]] = {
    "ball": (_SHELL, 420.0),
    "bell": (_BELL, 1150.0),
    "bottle": (_SHELL, 1350.0),
    "bowl": (_SHELL, 760.0),
    "box": (_PLATE, 260.0),
    "chair": (_BAR, 310.0),
    "drum": (_MEMBRANE, 130.0),
    "lamp": (_BAR, 900.0),
    "mug": (_SHELL, 1600.0),
    "stool": (_BAR, 380.0),
    "teapot": (_SHELL, 980.0),
    "vase": (_SHELL, 640.0),
}
_PITCH = {"small": 1.5, "medium": 1.0, "large": 0.68}


def knock(shape: str, material: str, size: str, random: np.random.Generator) -> Floats:
    """One to three seconds, float32[n] at SAMPLE_RATE_HZ, peak 0.8: balls bounce, all else is knocked on."""
    seconds = float(random.uniform(1.2, 3.0))
    track = np.zeros(int(seconds * SAMPLE_RATE_HZ))
    for at_s, strength in _hits(shape, seconds, random):
        start = int(at_s * SAMPLE_RATE_HZ)
        struck = _strike(shape, material, size, len(track) - start, random)
        track[start:] += strength * struck
    fade = SAMPLE_RATE_HZ // 20
    track[-fade:] *= np.linspace(1.0, 0.0, fade)
    return np.asarray(0.8 * track / np.abs(track).max(), np.float32)


def _hits(shape: str, seconds: float, random: np.random.Generator) -> list[tuple[float, float]]:
    """(second, strength) of every hit."""
    if shape == "ball":
        # Each flight of a bouncing ball is shorter by the same factor.
        keep, flight, at, hits = float(random.uniform(0.68, 0.8)), 0.42, 0.03, []
        while at < seconds - 0.1 and flight > 0.04:
            hits.append((at, flight / 0.42))
            at, flight = at + flight, flight * keep
        return hits
    count = int(random.integers(1, 4)) if shape != "drum" else int(random.integers(3, 7))
    gap = (seconds - 0.4) / count
    return [
        (0.03 + index * gap * float(random.uniform(0.92, 1.0)), float(random.uniform(0.7, 1.0)))
        for index in range(count)
    ]


def _strike(
    shape: str, material: str, size: str, length: int, random: np.random.Generator
) -> NDArray[np.float64]:
    ratios, base_hz = _SHAPE[shape]
    ring = _MATERIAL[material]
    seconds = np.arange(length) / SAMPLE_RATE_HZ
    # Every blow lands elsewhere: the partials keep their pitch and change their share.
    share = random.uniform(0.55, 1.0, size=len(ratios))
    sound = np.zeros(length)
    for index, ratio in enumerate(ratios):
        pitch_hz = base_hz * _PITCH[size] * ratio
        if pitch_hz > 0.45 * SAMPLE_RATE_HZ:
            break
        decay = 6.91 / (ring.ring_s * ratio**-ring.damping)
        # A drum's skin and a bell's wall ring by themselves, whatever the rest is made of.
        decay = decay / {"drum": 3.0, "bell": 1.6}.get(shape, 1.0)
        sound += (
            share[index]
            * ring.bright**index
            * np.exp(-decay * seconds)
            * np.sin(2 * np.pi * pitch_hz * seconds)
        )
    burst = random.standard_normal(length) * np.exp(-seconds / 0.004)
    return sound + ring.noise * burst
