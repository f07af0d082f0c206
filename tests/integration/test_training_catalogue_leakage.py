"""On the real stamps: no description and no near-equal picture stands on both sides of the split."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from export.settings import Settings
from training.catalogue_data import Stamp, load_stamps
from training.leakage import may_train
from training.pictures import HASH_SIDE, NEAR_DUPLICATE_BITS

MANIFEST = Settings().home / "catalogues" / "stamps" / "manifest.jsonl"


@pytest.fixture(scope="module")
def stamps() -> list[Stamp]:
    if not MANIFEST.is_file():
        pytest.skip("the stamps are not built: run `python -m catalogue stamps`")
    return list(load_stamps(MANIFEST))


def picture_hash(path: Path) -> imagehash.ImageHash:
    """By Pillow and imagehash alone, without the code under test."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        over = image.convert("RGBA")
    side = max(over.size)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(over, ((side - over.width) // 2, (side - over.height) // 2))
    return imagehash.phash(canvas.convert("RGB"), hash_size=HASH_SIDE)


def test_the_split_has_its_known_sizes_and_shares_no_meaning(stamps: list[Stamp]) -> None:
    assert Counter(stamp.split for stamp in stamps) == {"train": 421, "validation": 131, "test": 142}
    sides: dict[str, set[str]] = {}
    for stamp in stamps:
        sides.setdefault(stamp.meaning, set()).add(stamp.split)
    assert {len(side) for side in sides.values()} == {1}


def test_no_picture_that_is_trained_on_is_nearly_one_that_is_measured(stamps: list[Stamp]) -> None:
    drawn = [stamp for stamp in stamps if stamp.picture.suffix == ".png"]
    hashes = {stamp.id: picture_hash(stamp.picture) for stamp in drawn}
    bits = {name: np.asarray(found.hash, np.uint8).ravel() for name, found in hashes.items()}
    train = [stamp for stamp in drawn if stamp.split == "train"]
    held = [stamp for stamp in drawn if stamp.split != "train"]
    kept = may_train(
        [stamp.meaning for stamp in train],
        np.stack([bits[stamp.id] for stamp in train]),
        {stamp.meaning for stamp in held},
        np.stack([bits[stamp.id] for stamp in held]),
    )
    assert 0 < kept.sum() < len(train), "some near-duplicates are known to stand on both sides"
    nearest = {
        stamp.id: min(hashes[stamp.id] - hashes[other.id] for other in held)
        for stamp, keep in zip(train, kept, strict=True)
        if keep
    }
    assert min(nearest.values()) > NEAR_DUPLICATE_BITS
