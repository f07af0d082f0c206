"""Optimisation profiles: which shapes a TensorRT plan is built for.

Decoders pad tokens and samples to buckets, and batches form only between equal shapes: each bucket gets a
profile of its own, fixed in that axis and open in the batch, so that kernels are chosen for exactly the
shapes that come. An axis without buckets (the parts of a query, its candidates) is a range in every profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from export.errors import TensorRTError
from export.profile import Range, TensorRT
from media import AUDIO_BUCKETS_S, SAMPLE_RATE_HZ, TOKEN_BUCKETS

__all__ = ["BUCKETS", "Shapes", "covers", "profiles"]

BUCKETS: dict[str, tuple[int, ...]] = {
    "tokens": TOKEN_BUCKETS,
    "samples": tuple(seconds * SAMPLE_RATE_HZ for seconds in AUDIO_BUCKETS_S),
}
"""What the decoders pad to, by the name that recipes use."""
_TYPICAL_BATCH = 8
_BATCH = "batch"

Shapes = dict[str, dict[str, list[int]]]
"""One profile: input -> ``min``, ``opt`` and ``max`` -> shape with the batch in front."""


def profiles(inputs: Mapping[str, tuple[str | int, ...]], recipe: TensorRT) -> list[Shapes]:
    """One profile per combination of buckets, in the order of the buckets.

    Args:
        inputs: input -> its axes: a name is dynamic, a number is fixed.
        recipe: sizes of the named axes and the largest batch.

    Raises:
        TensorRTError: an axis is not in the recipe, or the recipe names one that there is not.
    """
    named = {axis for axes in inputs.values() for axis in axes if isinstance(axis, str)} - {_BATCH}
    if named != set(recipe.sizes):
        raise TensorRTError(
            f"sizes are given for {sorted(recipe.sizes)}, the dynamic axes are {sorted(named)}"
        )
    choices: list[list[tuple[str, Range]]] = []
    for axis, size in recipe.sizes.items():
        ranges = [size] if isinstance(size, Range) else [Range(min=n, opt=n, max=n) for n in BUCKETS[size]]
        choices.append([(axis, each) for each in ranges])
    batch = Range(min=1, opt=min(_TYPICAL_BATCH, recipe.max_batch), max=recipe.max_batch)
    return [_shapes(inputs, {_BATCH: batch, **dict(combination)}) for combination in product(*choices)]


def _shapes(inputs: Mapping[str, tuple[str | int, ...]], sizes: Mapping[str, Range]) -> Shapes:
    def shape(axes: tuple[str | int, ...], bound: str) -> list[int]:
        return [axis if isinstance(axis, int) else int(getattr(sizes[axis], bound)) for axis in axes]

    return {
        name: {bound: shape(axes, bound) for bound in ("min", "opt", "max")} for name, axes in inputs.items()
    }


def covers(profile: Shapes, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a profile takes inputs of these shapes, batch included."""
    return set(profile) == set(shapes) and all(
        len(shape) == len(profile[name]["min"])
        and all(
            low <= side <= high
            for low, side, high in zip(profile[name]["min"], shape, profile[name]["max"], strict=True)
        )
        for name, shape in shapes.items()
    )
