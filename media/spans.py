"""Where a long recording is cut."""

from __future__ import annotations

import math

__all__ = ["spans"]


def spans(duration_s: float, length_s: float, overlap_s: float) -> list[tuple[float, float]]:
    """(start, end) of pieces of `length_s`, equal overlaps of at least `overlap_s`, covering the whole."""
    if duration_s <= length_s:
        return [(0.0, duration_s)]
    count = math.ceil((duration_s - overlap_s) / (length_s - overlap_s) - 1e-9)
    step_s = (duration_s - length_s) / (count - 1)
    return [(i * step_s, i * step_s + length_s) for i in range(count)]
