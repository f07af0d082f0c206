"""What the image encoder is fine-tuned on: drawings with names from outside the catalogue, augmented.

No stamp is among them, and nothing that shares a name or comes close to the picture of a stamp of any
split. So the tuned encoder has seen no stamp at all, and cross-validation over the stamps stays what it was
for the frozen one. The blocks that stay frozen need to run only once: what they make of a view is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from catalogue.split import normalise
from media import MediaError, decode_image, image_input
from training.augment import photograph, view
from training.dataset import KEYWORDS_SHARE, Dataset
from training.encoders import Encoders
from training.leakage import may_train
from training.openclipart import Drawing
from training.pictures import HASH_SIDE, LIMITS
from training.store import Arrays, FeatureStore

__all__ = ["SIDE_PX", "VIEWS", "Views", "encode_views", "load_views"]

SIDE_PX = 196
"""Smaller than the 260 that are served, for time; 196 has the same parities, so that paddings fall alike."""
WORKING_PX = 220
VIEWS = 2
SMALL = replace(LIMITS, svg_render_px=300)


@dataclass(frozen=True)
class Views:
    """Rows belong together: front FP16 [n, VIEWS, C, H, W], what the first trained block reads; logits FP16
    [n, VIEWS, 1000] of the frozen network; text FP32 [n, 384] unit norm, about the mean; meaning."""

    front: npt.NDArray[np.float16]
    logits: npt.NDArray[np.float16]
    text: npt.NDArray[np.float32]
    meaning: tuple[str, ...]


def load_views(drawings: Sequence[Drawing], data: Dataset, encoders: Encoders, store: FeatureStore) -> Views:
    """Encode every drawing that has nothing to do with a stamp.

    Raises:
        TrainingError, ExportError, CatalogueError: something cannot be had or read.
    """
    keys = [hashlib.sha256(drawing.svg).hexdigest() for drawing in drawings]
    arrays = encode_views("tuning", keys, [drawing.svg for drawing in drawings], encoders, store)
    meanings = [normalise(drawing.title) for drawing in drawings]
    fresh = may_train(meanings, arrays["hashes"].astype(np.uint8), set(data.meanings), data.pictures.hashes)
    rows = np.flatnonzero(fresh & arrays["readable"].astype(np.bool_)).tolist()
    titles = encoders.text([drawings[row].title for row in rows])
    keywords = encoders.text([", ".join(drawings[row].keywords) or drawings[row].title for row in rows])
    text = _unit(titles + KEYWORDS_SHARE * keywords)
    return Views(
        arrays["front"][rows].astype(np.float16),
        arrays["logits"][rows].astype(np.float16),
        _unit(text - text.mean(axis=0)),
        tuple(meanings[row] for row in rows),
    )


def encode_views(
    name: str, keys: Sequence[str], contents: Sequence[bytes], encoders: Encoders, store: FeatureStore
) -> Arrays:
    """front, logits, hashes uint8 [n, 256] and readable of pictures, each in VIEWS augmented views."""

    def compute(rows: Sequence[int]) -> Arrays:
        with ThreadPoolExecutor(2) as pool:
            prepared = list(pool.map(lambda row: _prepare(contents[row], keys[row]), rows))
        blank = np.full((VIEWS, SIDE_PX, SIDE_PX, 3), 255, np.uint8)
        encoded = [encoders.front(blank if found is None else found[0]) for found in prepared]
        no_hash = np.zeros(HASH_SIDE**2, np.uint8)
        return {
            "front": np.stack([front for front, _ in encoded]).astype(np.float16),
            "logits": np.stack([logits for _, logits in encoded]).astype(np.float16),
            "hashes": np.stack([no_hash if found is None else found[1] for found in prepared]),
            "readable": np.array([found is not None for found in prepared]),
        }

    return store.get(name, f"views-2 {VIEWS} {SIDE_PX}", keys, compute)


def _prepare(data: bytes, key: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    try:
        picture = decode_image(data, SMALL)
    except MediaError:
        return None
    hashed = imagehash.phash(Image.fromarray(image_input(picture)), hash_size=HASH_SIDE).hash
    first = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])
    seen = [view(picture, first, WORKING_PX), photograph(picture, first + 1, WORKING_PX)]
    size = (SIDE_PX, SIDE_PX)
    small = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in seen]
    return np.stack(small), np.asarray(hashed, np.uint8).ravel()


def _unit(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    unit: npt.NDArray[np.float32] = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)).astype(
        np.float32
    )
    return unit
