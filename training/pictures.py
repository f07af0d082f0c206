"""Pictures through the frozen image encoder, with what tells near-duplicates: a perceptual hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from media import Limits, MediaError, decode_image, image_input
from training.augment import view
from training.encoders import Encoders
from training.store import Arrays, FeatureStore

__all__ = [
    "LIMITS",
    "NEAR_DUPLICATE_BITS",
    "PictureFeatures",
    "encode_pictures",
    "hash_distances",
    "hash_pictures",
]

HASH_SIDE = 16
NEAR_DUPLICATE_BITS = 50
"""Of 256: pictures whose hashes differ in no more bits are taken for the same drawing."""
# Rasterising has a tight deadline where users wait; here a slow machine must not change what is learned.
LIMITS = Limits(svg_deadline_s=20.0)


@dataclass(frozen=True)
class PictureFeatures:
    """One row a picture: features FP32 [n, views, 1280], logits FP32 [n, views, 1000] (view 0 is the picture
    as it is), hash uint8 [n, 256] of bits, and readable bool [n]: rows of unreadable pictures are zeros."""

    features: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    hashes: npt.NDArray[np.uint8]
    readable: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> PictureFeatures:
        return PictureFeatures(self.features[rows], self.logits[rows], self.hashes[rows], self.readable[rows])


def encode_pictures(
    name: str,
    keys: Sequence[str],
    read: Callable[[int], bytes],
    views: int,
    encoders: Encoders,
    store: FeatureStore,
) -> PictureFeatures:
    """Encode pictures; `read` gives the encoded bytes of the picture at an index.

    `keys` must change with the content. A picture that media refuses is marked as unreadable.
    """

    def compute(rows: Sequence[int]) -> Arrays:
        with ThreadPoolExecutor(2) as pool:
            prepared = list(pool.map(lambda row: _prepare(read(row), keys[row], views), rows))
        features = np.zeros((len(rows), views, 1280), np.float16)
        logits = np.zeros((len(rows), views, 1000), np.float16)
        hashes = np.zeros((len(rows), HASH_SIDE**2), np.uint8)
        readable = np.zeros(len(rows), np.bool_)
        for place, found in enumerate(prepared):
            if found is None:
                continue
            pixels, hashes[place] = found
            readable[place] = True
            features[place], logits[place] = encoders.image(pixels)
        return {"features": features, "logits": logits, "hashes": hashes, "readable": readable}

    arrays = store.get(name, f"pictures-1 views={views} {encoders.image_state()}".rstrip(), keys, compute)
    return PictureFeatures(
        arrays["features"].astype(np.float32),
        arrays["logits"].astype(np.float32),
        arrays["hashes"].astype(np.uint8),
        arrays["readable"].astype(np.bool_),
    )


def hash_distances(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Differing bits of every pair: [n, 256], [m, 256] -> [n, m]."""
    a, b = left.astype(np.float32), right.astype(np.float32)
    return (a @ (1 - b).T + (1 - a) @ b.T).astype(np.int32)


def hash_pictures(paths: Sequence[Path], store: FeatureStore) -> npt.NDArray[np.uint8]:
    """Perceptual hashes of pictures, uint8 [n, 256] of bits.

    Raises:
        MediaError: a picture cannot be read.
    """

    def compute(rows: Sequence[int]) -> Arrays:
        found = [_hash(image_input(decode_image(paths[row].read_bytes(), LIMITS))) for row in rows]
        return {"hashes": np.stack(found)}

    keys = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return store.get("picture-hashes", "hashes-1", keys, compute)["hashes"].astype(np.uint8)


def _hash(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE).hash, np.uint8).ravel()


def _prepare(data: bytes, key: str, views: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    try:
        picture = decode_image(data, LIMITS)
    except MediaError:
        return None
    whole = image_input(picture)
    first = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])
    pixels = [whole, *(view(picture, first + number) for number in range(1, views))]
    return np.stack(pixels), _hash(whole)
