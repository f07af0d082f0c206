"""On the real stamps: no description and no near-equal picture stands on both sides of the split, nor does
anything that made queries say or show."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from catalogue.debian import available
from catalogue.manifest import ManifestItem, read_manifest
from catalogue.split import Split, normalise
from export.settings import Settings
from queries import MadeQuery, make_queries
from queries.wordnet import PACKAGE, open_wordnet
from training.catalogue_data import Stamp, load_stamps
from training.leakage import may_train
from training.lexicon import load_lexicon
from training.pictures import HASH_SIDE, NEAR_DUPLICATE_BITS

MANIFEST = Settings().home / "catalogues" / "stamps" / "manifest.jsonl"


@pytest.fixture(scope="module")
def stamps() -> list[Stamp]:
    if not MANIFEST.is_file():
        pytest.skip("the stamps are not built: run `python -m catalogue stamps`")
    return list(load_stamps(MANIFEST))


@pytest.fixture(scope="module")
def items(stamps: list[Stamp]) -> list[ManifestItem]:
    if reason := available(PACKAGE, Settings().cache):
        pytest.skip(reason)
    return list(read_manifest(MANIFEST))


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


def test_what_a_made_query_says_on_one_side_is_nothing_that_another_side_holds(
    items: list[ManifestItem],
) -> None:
    meanings: dict[Split, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for item in items:
        assert item.split is not None
        meanings[item.split].add(normalise(item.description))
    # mixes and speech say these too
    said: dict[Split, set[str]] = {
        split: {
            normalise(str(query.parts[0]))
            for query in make_queries("paraphrase", items, Settings(), split=split)
        }
        for split in meanings
    }
    assert all(said.values())
    for split, texts in said.items():
        for other in meanings:
            assert not texts & meanings[other], f"{split} says a description of {other}"
            assert other == split or not texts & said[other], f"{split} and {other} say the same"


def test_no_photograph_that_is_trained_on_is_nearly_a_picture_that_is_measured(
    stamps: list[Stamp], items: list[ManifestItem]
) -> None:
    """Photographs of train items against the stored pictures and the photographs of the held items."""
    drawn = {stamp.id: stamp for stamp in stamps if stamp.picture.suffix == ".png"}
    own = {name: hashed(stamp.picture) for name, stamp in drawn.items()}
    held = [stamp for stamp in drawn.values() if stamp.split != "train"]
    train = [stamp for stamp in drawn.values() if stamp.split == "train"]
    fresh = may_train(
        [stamp.meaning for stamp in train],
        np.stack([own[stamp.id] for stamp in train]),
        {stamp.meaning for stamp in held},
        np.stack([own[stamp.id] for stamp in held]),
    )
    # every twelfth: what is near is near because of the thing, and there are hundreds
    chosen = {stamp.id for stamp, keep in zip(train, fresh, strict=True) if keep}
    asked = [item for item in items if item.id in chosen][::12]
    seen = np.stack([hashed(path) for path in photographed(asked)])
    measured = [own[stamp.id] for stamp in held]
    test = [item for item in items if item.split == "test"][::12]
    measured += [hashed(path) for path in photographed(test)]
    bits = (seen[:, np.newaxis, :] != np.stack(measured)[np.newaxis]).sum(axis=2)
    assert bits.min() > NEAR_DUPLICATE_BITS


def photographed(items: list[ManifestItem]) -> list[Path]:
    made = make_queries("photograph", items, Settings())
    return [part for query in made for part in query.parts if isinstance(part, Path)]


def hashed(path: Path) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.asarray(picture_hash(path).hash, np.uint8).ravel()


def test_no_word_pair_that_tunes_the_text_encoder_is_of_a_stamp(
    stamps: list[Stamp], items: list[ManifestItem]
) -> None:
    lexicon = load_lexicon([stamp.description for stamp in stamps], open_wordnet(Settings().cache))
    asked = {name.lower() for entry in lexicon for name, _ in (*entry.synonyms, *entry.told)}
    said = {normalise(stamp.description) for stamp in stamps}
    assert not {name for name in asked if normalise(name) in said}
    # what a paraphrase says in place of a noun is a definition or a name of its synset; some share one
    # ("a cartoon character created by Walt Disney"), but none that is measured
    definitions = {told.partition(": ")[2] for entry in lexicon for _, told in entry.told}
    paraphrases = [
        each for each in make_queries("paraphrase", items, Settings()) if each.item.split != "train"
    ]
    told = [text_of(each).partition(": ")[2] for each in paraphrases if each.way == "hypernym"]
    replaced = [normalise(text_of(each)) for each in paraphrases if each.way == "synonym"]
    assert len(told) > 80
    assert len(replaced) > 50
    assert not [definition for definition in told if definition in definitions]
    assert not [text for text in replaced if text in asked]


def text_of(query: MadeQuery) -> str:
    (part,) = query.parts
    return str(part).rstrip(".")
