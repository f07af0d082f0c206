"""Nothing that is measured is learned from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from catalogue.split import split_of
from training.catalogue_data import load_stamps
from training.errors import DataError
from training.leakage import may_train
from training.pictures import NEAR_DUPLICATE_BITS, hash_distances


def bits(*ones: int) -> npt.NDArray[np.uint8]:
    row = np.zeros(256, np.uint8)
    row[list(ones)] = 1
    return row


def test_the_split_of_hand_computed_descriptions() -> None:
    # printf frog | sha1sum is b3e0f62f...1345f36, modulo 10 it is 6; "white flag" is 46bd28c3...3675104: 8;
    # "owl" is 2c730e3a...543570a: 4
    assert split_of("A frog.") == "validation"
    assert split_of("a  FROG!") == "validation"
    assert split_of("The white flag") == "test"
    assert split_of("owl") == split_of("An owl.") == "train"


def test_distances_count_differing_bits() -> None:
    left, right = np.stack([bits(), bits(0, 1)]), np.stack([bits(), bits(1, 2, 3)])
    assert hash_distances(left, right).tolist() == [[0, 3], [2, 3]]


def test_equal_meanings_and_near_pictures_stay_out() -> None:
    near = bits(*range(NEAR_DUPLICATE_BITS))
    far = bits(*range(NEAR_DUPLICATE_BITS + 1))
    held_hash = np.stack([bits()])
    kept = may_train(["owl", "cat", "dog"], np.stack([far, near, far]), {"owl"}, held_hash)
    assert kept.tolist() == [False, False, True]


def test_nothing_held_keeps_everything() -> None:
    assert may_train(["a"], np.stack([bits()]), set(), np.zeros((0, 256), np.uint8)).all()


def write(folder: Path, **fields: object) -> Path:
    (folder / "a.png").write_bytes(b"x")
    item = {"id": "a", "title": "Frog", "description": "A frog.", "media": [{"path": "a.png"}]} | fields
    manifest = folder / "manifest.jsonl"
    manifest.write_text(json.dumps(item))
    return manifest


def test_stamps_are_read_as_they_are_indexed(tmp_path: Path) -> None:
    (stamp,) = load_stamps(write(tmp_path, split="validation"))
    assert (stamp.indexed, stamp.meaning, stamp.split) == ("Frog\nA frog.", "frog", "validation")
    (stamp,) = load_stamps(write(tmp_path, description="Frog on a leaf", split=split_of("Frog on a leaf")))
    assert stamp.indexed == "Frog on a leaf"


@pytest.mark.parametrize("fields", [{"split": "train"}, {"split": "validation", "media": []}])
def test_a_manifest_that_would_leak_or_lacks_pictures_is_refused(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    with pytest.raises(DataError, match="a "):
        load_stamps(write(tmp_path, **fields))


def test_a_missing_manifest_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="python -m catalogue stamps"):
        load_stamps(tmp_path / "manifest.jsonl")
