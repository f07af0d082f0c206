"""Generated products that composition is learned from: of seeds that no evaluation uses, with their media.

What is looked for are pictures, sounds and texts of the products; what is asked with are photographs of the
pictures and re-recorded sounds, as evaluation makes them of its own catalogue.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catalogue.building import run_jobs, write_bytes
from catalogue.generate import picture_png, sound_flac
from catalogue.products import Product, product
from media import Limits, decode_audio, decode_image, image_input
from queries.photographs import photograph
from queries.sounds import effect
from queries.types import chance
from training.encoders import Encoders
from training.store import Arrays, FeatureStore, Progress

__all__ = ["EVALUATION_SEED", "SEEDS", "ProductFeatures", "encode_products", "make_products", "text_of"]

EVALUATION_SEED = 0
"""Of the catalogue that relevance is measured on: nothing is learned from it, and nothing chosen by it."""
SEEDS = {"train": 7001, "validation": 7002}
COUNTS = {"train": 880, "validation": 320}
PROCESSES = 2
_RECIPE = "1"
_NAMES = ("picture.png", "photograph.jpg", "sound.flac", "effect.mp3")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ProductFeatures:
    """One row a product, as the frozen encoders see it: (features [n, 1280], logits [n, 1000]) of its picture
    and of a photograph of it, pooled frames [n, 576] of its sound and of a re-recording."""

    picture: tuple[Floats, Floats]
    photograph: tuple[Floats, Floats]
    sound: Floats
    effect: Floats


def make_products(split: str, cache: Path, progress: Progress) -> list[Product]:
    """The products of a split; their media stand below `cache` afterwards."""
    folder = cache / "attend"
    folder.mkdir(parents=True, exist_ok=True)
    products = [product(SEEDS[split], index) for index in range(COUNTS[split])]
    missing = [each for each in products if not all(path.is_file() for path in _paths(folder, each))]
    jobs = [(each, folder) for each in missing]
    done = len(products) - len(missing)
    processes = min(PROCESSES, os.cpu_count() or 1)
    run_jobs(f"products, {split}", _make, jobs, done, processes, progress)
    return products


def text_of(each: Product) -> str:
    """As `indexing` makes an item's text of title and description."""
    return f"{each.title}\n{each.description}"


def encode_products(
    products: Sequence[Product], encoders: Encoders, weights: str, store: FeatureStore, cache: Path
) -> ProductFeatures:
    """What the frozen encoders make of the media; `weights` names the encoders' own."""
    folder = cache / "attend"

    def compute(rows: Sequence[int]) -> Arrays:
        with ThreadPoolExecutor(2) as pool:
            read = list(pool.map(lambda row: _read(folder, products[row]), rows))
        pictures = np.stack([one[0] for one in read] + [one[1] for one in read])
        sounds = [one[2] for one in read] + [one[3] for one in read]
        features, logits = (
            np.concatenate(parts) for parts in zip(*_batched(encoders, pictures), strict=True)
        )
        pooled, count = encoders.audio(sounds), len(rows)
        return {
            "features": np.stack([features[:count], features[count:]], axis=1).astype(np.float16),
            "logits": np.stack([logits[:count], logits[count:]], axis=1).astype(np.float16),
            "pooled": np.stack([pooled[:count], pooled[count:]], axis=1),
        }

    keys = [f"{each.id}/{_RECIPE}" for each in products]
    found = store.get("attend", f"attend-1 {weights}", keys, compute, chunk=32)
    features, logits, pooled = (found[name].astype(np.float32) for name in ("features", "logits", "pooled"))
    return ProductFeatures(
        (features[:, 0], logits[:, 0]), (features[:, 1], logits[:, 1]), pooled[:, 0], pooled[:, 1]
    )


def _batched(encoders: Encoders, pictures: npt.NDArray[np.uint8]) -> list[tuple[Floats, Floats]]:
    return [encoders.image(pictures[start : start + 8]) for start in range(0, len(pictures), 8)]


def _paths(folder: Path, each: Product) -> list[Path]:
    return [folder / f"{each.id}-{_RECIPE}-{name}" for name in _NAMES]


def _make(each: Product, folder: Path) -> None:
    picture, photo, sound, recorded = _paths(folder, each)
    write_bytes(picture, picture_png(each, oversample=1))
    write_bytes(photo, photograph(picture, chance("attend", "photograph", each.id)))
    write_bytes(sound, sound_flac(each))
    write_bytes(recorded, effect(sound, chance("attend", "effect", each.id)))


def _read(folder: Path, each: Product) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Floats, Floats]:
    picture, photo, sound, recorded = (path.read_bytes() for path in _paths(folder, each))
    limits = Limits()
    return (
        image_input(decode_image(picture, limits)),
        image_input(decode_image(photo, limits)),
        decode_audio(sound, limits).samples,
        decode_audio(recorded, limits).samples,
    )
