"""The words of this room: what content is, and what comes out of decoding it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

__all__ = ["SAMPLE_RATE_HZ", "Audio", "Kind", "Modality", "Probe", "Segment", "Video"]

SAMPLE_RATE_HZ = 16_000


class Modality(StrEnum):
    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Kind:
    """What content was found to be: `format` is a short name ("png", "mp4"), `mime` its media type."""

    modality: Modality
    format: str
    mime: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Facts from headers. Fields that do not apply to the modality are 0 or False.

    width, height: pixels as stored (before EXIF or display rotation). duration_s: seconds. frames: pictures
    in a video or animation, estimated where the header does not count them.
    """

    kind: Kind
    width: int = 0
    height: int = 0
    duration_s: float = 0.0
    frames: int = 0
    has_audio: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """samples: float32 [n], mono, 16 kHz, within [-1, 1]."""

    samples: npt.NDArray[np.float32]
    duration_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """frames: uint8 [T, H, W, 3], sRGB, upright; times_s: float64 [T], from the start of the video."""

    frames: npt.NDArray[np.uint8]
    times_s: npt.NDArray[np.float64]
    duration_s: float
    audio: Audio | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a file, itself an encoded file of kind `kind`, from `start_s` to `end_s` of the whole."""

    index: int
    start_s: float
    end_s: float
    data: bytes
    kind: Kind
