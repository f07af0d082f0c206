"""The pictures of animated GIF, WebP and PNG, through Pillow."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

from media.damage import diagnose
from media.errors import TooManyPixelsError
from media.frame_times import checked_lengths_s
from media.image import image_errors, open_image, over_white
from media.limits import Clock, Limits
from media.types import Kind, Probe

__all__ = ["animation_frames", "probe_animation"]


def _check_pixels(width: int, height: int, count: int, kind: Kind, limits: Limits) -> None:
    for pixels, name in (
        (width * height, "max_frame_pixels"),
        (width * height * count, "max_animation_pixels"),
    ):
        if pixels > getattr(limits, name):
            raise TooManyPixelsError(kind=kind.format, limit=f"{name}={getattr(limits, name)}")


def probe_animation(data: bytes, kind: Kind, limits: Limits) -> Probe:
    """Size, exact frame count and duration. Raises what `checked_lengths_s` does and TooManyPixelsError."""
    lengths = checked_lengths_s(data, kind, limits)
    with image_errors(data, kind.format), open_image(data, kind, limits) as image:
        _check_pixels(image.width, image.height, len(lengths), kind, limits)
        return Probe(kind, image.width, image.height, sum(lengths), len(lengths))


def animation_frames(
    data: bytes, kind: Kind, limits: Limits, count: int, wanted: Collection[int], clock: Clock
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """(index, uint8 [H, W, 3]) of the wanted pictures of `count` in order; those between are only decoded.

    Raises TruncatedError, CorruptError, TooManyPixelsError (max_frame_pixels for one, max_animation_pixels
    for all together), DeadlineError.
    """
    with image_errors(data, kind.format), open_image(data, kind, limits) as image:
        _check_pixels(image.width, image.height, count, kind, limits)
        canvas = image.size
        # An APNG may begin with a picture for viewers that know no animation: it is not part of it.
        first = 1 if getattr(image, "default_image", False) else 0
        for index in range(max(wanted) + 1):
            clock.check()
            try:
                image.seek(first + index)
            except EOFError as error:
                raise diagnose(data, kind.format)(kind=kind.format) from error
            # A GIF's pictures may reach beyond its canvas, and Pillow's image then grows.
            _check_pixels(image.width, image.height, 1, kind, limits)
            if index in wanted:
                yield index, np.asarray(over_white(image.convert("RGBA").crop((0, 0, *canvas))))
