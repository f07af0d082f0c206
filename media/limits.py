"""Every bound of decoding, in one frozen value, and the clock that keeps the time bound."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields

from media.errors import DeadlineError, EmptyError, TooLargeError

__all__ = ["ENV_PREFIX", "Clock", "Limits", "check_size"]

ENV_PREFIX = "SENSORIUM_MEDIA_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that hold before memory is allocated; units stand in the names.

    Raises ValueError for a bound that is not positive and for overlaps of half a segment or more.
    """

    max_bytes: int = 25 * 1024 * 1024
    max_text_bytes: int = 64 * 1024
    max_text_tokens: int = 2048
    max_svg_bytes: int = 4 * 1024 * 1024
    max_svg_elements: int = 100_000
    max_svg_attributes: int = 200_000
    max_pixels: int = 50_000_000  # of one picture: a 48-megapixel photograph passes
    max_frame_pixels: int = 4096 * 2304  # of one frame of a video or animation
    max_animation_pixels: int = 500_000_000  # of all frames together: Pillow decodes every one
    max_frames: int = 36_000  # ten minutes at 60 frames per second
    max_audio_s: float = 1800.0
    max_video_s: float = 600.0
    max_decoded_bytes: int = 512 * 1024 * 1024  # arrays of one decoded file

    video_height_px: int = 720  # larger frames are scaled down to this class (1280 x 720, either way up)
    video_fps: float = 30.0

    segment_audio_s: float = 30.0
    segment_audio_overlap_s: float = 5.0
    segment_video_s: float = 60.0
    segment_video_overlap_s: float = 10.0
    segment_bytes: int = 2_000_000  # a sound or video above this is cut, or re-encoded, whatever its length
    segment_video_height_px: int = 360
    segment_video_fps: float = 15.0

    svg_render_px: int = 512  # longest side of a rasterised SVG
    svg_deadline_s: float = 0.6  # of processor time, for reading and rendering
    svg_memory_bytes: int = 512 * 1024 * 1024
    decode_deadline_s: float = 10.0
    # Faster than any decoder here: a video that needs longer than its deadline even so is refused at once.
    decode_pixels_per_s: int = 1_000_000_000
    segment_deadline_s: float = 300.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_overlap_s"):
                if not 0 <= value < getattr(self, field.name.replace("_overlap_s", "_s")) / 2:
                    raise ValueError(f"{field.name} must be at least 0 and less than half a segment")
            elif not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field.name} must be positive")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Limits:
        """Defaults, overridden by SENSORIUM_MEDIA_<FIELD>; an unknown or malformed one is a ValueError."""
        types = {field.name: int if field.type == "int" else float for field in fields(cls)}
        values: dict[str, int | float] = {}
        for variable, text in environment.items():
            if not variable.startswith(ENV_PREFIX):
                continue
            name = variable.removeprefix(ENV_PREFIX).lower()
            if name not in types:
                raise ValueError(f"unknown setting {variable}")
            try:
                values[name] = types[name](text)
            except ValueError as error:
                raise ValueError(f"{variable} must be a number") from error
        return cls(**values)  # type: ignore[arg-type]


class Clock:
    """Counts down from a number of seconds; `check` raises DeadlineError once they have passed."""

    __slots__ = ("_end", "_limit", "kind", "seconds")

    def __init__(self, seconds: float, *, limit: str, kind: str) -> None:
        self._end = time.monotonic() + seconds
        self.seconds = seconds
        self._limit = f"{limit}={seconds:g}"
        self.kind = kind

    def check_work(self, pixels: int, pixels_per_s: float) -> None:
        """DeadlineError when decoding `pixels` is known to take longer than the whole time given."""
        if pixels > self.seconds * pixels_per_s:
            raise DeadlineError("decoding would take too long", kind=self.kind, limit=self._limit)

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise DeadlineError(kind=self.kind, limit=self._limit)


def check_size(data: bytes, limits: Limits, kind: str = "") -> None:
    """EmptyError or TooLargeError unless 0 < len(data) <= max_bytes."""
    if not data:
        raise EmptyError(kind=kind)
    if len(data) > limits.max_bytes:
        raise TooLargeError(kind=kind, limit=f"max_bytes={limits.max_bytes}")
