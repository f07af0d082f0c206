"""Clips through the frozen image and speech encoders, and the parts of the video head that have a closed
form."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from export.adapters import VideoHead
from media import VIDEO_FRAMES, Limits, decode_video, video_input
from training.augment import view
from training.dataset import Dataset
from training.encoders import Encoders
from training.store import Arrays, FeatureStore

__all__ = ["Clips", "fit_native", "load_clips"]

Floats = npt.NDArray[np.float32]
SOUND = 288


@dataclass(frozen=True)
class Clips:
    """Rows belong together: features [n, 2, 8, 1280], logits [n, 2, 8, 1000], sound [n, 288], has_sound [n].

    Axis 1 is the clip as it is, then as somebody else would film it: every frame through one augmentation.
    """

    features: Floats
    logits: Floats
    sound: Floats
    has_sound: Floats
    meaning: tuple[str, ...]

    def take(self, data: Dataset, split: str) -> Clips:
        """The clips whose description belongs to `split`."""
        kept = {stamp.meaning for stamp in data.stamps if stamp.split == split}
        rows = [row for row, meaning in enumerate(self.meaning) if meaning in kept]
        meaning = tuple(self.meaning[row] for row in rows)
        return Clips(self.features[rows], self.logits[rows], self.sound[rows], self.has_sound[rows], meaning)


def load_clips(data: Dataset, splits: Sequence[str], encoders: Encoders, store: FeatureStore) -> Clips:
    """The clips of these splits' items.

    Raises:
        MediaError: a clip that the catalogue generated cannot be read.
    """
    pairs = [(stamp, path) for stamp in data.stamps if stamp.split in splits for path in stamp.clips]
    contents = [path for _, path in pairs]
    keys = [hashlib.sha256(path.read_bytes()).hexdigest() for path in contents]

    def compute(rows: Sequence[int]) -> Arrays:
        encoded = [_encode(contents[row], keys[row], encoders) for row in rows]
        return {name: np.stack([clip[name] for clip in encoded]) for name in encoded[0]}

    arrays = store.get("clips", f"clips-1 {encoders.image_state()}".rstrip(), keys, compute, chunk=4)
    floats = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Clips(**floats, meaning=tuple(stamp.meaning for stamp, _ in pairs))


def fit_native(head: VideoHead, clips: Clips, seed: int) -> None:
    """Centre the blocks on the training clips and lay motion out by a random orthonormal map.

    Some dozens of clips are too few for principal axes of motion; a random map keeps distances (Johnson and
    Lindenstrauss 1984). Weights give appearance, motion and sound a share of 1 : 0.25 : 0.25 of the cosine.
    """
    features = torch.from_numpy(clips.features[:, 0])
    head.appearance_mean.copy_(features.mean(dim=(0, 1)))
    head.motion.mean.copy_((features[:, 1:] - features[:, :-1]).abs().mean(dim=(0, 1)))
    generator = torch.Generator().manual_seed(seed)
    rows, columns = head.motion.outer.weight.shape
    basis, _ = torch.linalg.qr(torch.randn(columns, rows, generator=generator))
    head.motion.outer.weight.data.copy_(basis.T)
    head.motion.outer.bias.data.zero_()
    heard = clips.has_sound > 0
    if heard.any():
        head.sound_mean.copy_(torch.from_numpy(clips.sound[heard].mean(axis=0)))


def _encode(path: Path, key: str, encoders: Encoders) -> Arrays:
    video = decode_video(path.read_bytes(), Limits(), frames=VIDEO_FRAMES)
    frames, samples, mask = video_input(video)
    seed = int(key[:8], 16)
    filmed = np.stack([view(frame, seed) for frame in frames])
    features, logits = encoders.image(np.concatenate([frames, filmed]))
    heard = bool(mask.any())
    sound = encoders.audio([samples[: int(mask.sum())]])[0, :SOUND] if heard else np.zeros(SOUND, np.float32)
    return {
        "features": features.reshape(2, VIDEO_FRAMES, -1).astype(np.float16),
        "logits": logits.reshape(2, VIDEO_FRAMES, -1).astype(np.float16),
        "sound": sound,
        "has_sound": np.array(heard, np.float32),
    }
