"""What the encoders read. The one place: Triton's decoders, export's calibration and training all use it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from media.errors import TextTooLongError
from media.types import SAMPLE_RATE_HZ, Video

__all__ = [
    "AUDIO_BUCKETS_S",
    "IMAGE_SIZE_PX",
    "TOKEN_BUCKETS",
    "VIDEO_FRAMES",
    "audio_input",
    "image_input",
    "token_bucket",
    "video_input",
]

IMAGE_SIZE_PX = 260
VIDEO_FRAMES = 8
AUDIO_BUCKETS_S = (1, 2, 4, 8, 15, 30)
TOKEN_BUCKETS = (8, 16, 32, 64, 128, 256, 512, 1024, 1536, 2048)


def image_input(rgb: npt.NDArray[np.uint8], side_px: int = IMAGE_SIZE_PX) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3] -> uint8 [side, side, 3], whole, centred on a white square (nothing is cropped)."""
    from PIL import Image

    height, width = rgb.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # reducing_gap makes big reductions cheap: whole-number box averaging first, then bicubic.
    resized = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    canvas = np.full((side_px, side_px, 3), 255, np.uint8)
    top, left = (side_px - size[1]) // 2, (side_px - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(resized)
    return canvas


def audio_input(samples: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """float32 [n] at 16 kHz -> (float32 [N], int64 mask [N]), N the smallest bucket that holds it.

    Beyond the last bucket (30 s) only the beginning is read: longer sounds are cut into segments first.
    """
    samples = samples[: AUDIO_BUCKETS_S[-1] * SAMPLE_RATE_HZ]
    length = next(s * SAMPLE_RATE_HZ for s in AUDIO_BUCKETS_S if samples.size <= s * SAMPLE_RATE_HZ)
    padded = np.zeros(length, np.float32)
    padded[: samples.size] = samples
    mask = np.zeros(length, np.int64)
    mask[: samples.size] = 1
    return padded, mask


def video_input(
    video: Video, count: int = VIDEO_FRAMES, side_px: int = IMAGE_SIZE_PX
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Video -> (uint8 [count, side, side, 3], float32 [N], int64 mask [N]); the mask is zeros without sound.

    Decode with `frames=count`; from any other number, `count` are taken evenly.
    """
    there = video.frames.shape[0]
    chosen = np.minimum((np.arange(count) + 0.5) * there / count, there - 1).astype(int)
    prepared = {i: image_input(video.frames[i], side_px) for i in set(chosen.tolist())}
    frames = np.stack([prepared[i] for i in chosen.tolist()])
    samples = video.audio.samples if video.audio is not None else np.zeros(0, np.float32)
    return frames, *audio_input(samples)


def token_bucket(count: int) -> int:
    """The padded length for `count` tokens; TextTooLongError beyond the last bucket."""
    for bucket in TOKEN_BUCKETS:
        if count <= bucket:
            return bucket
    raise TextTooLongError(kind="text", limit=f"max_text_tokens={TOKEN_BUCKETS[-1]}")
