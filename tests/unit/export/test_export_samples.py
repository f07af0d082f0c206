"""Real inputs: the test split is never read, the order is fixed, broken files are passed over."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from export.errors import SamplesError
from export.samples import Sample, Samples, find_manifest
from export.sessions import batches


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    tokens = Tokenizer(WordLevel({"[UNK]": 1, "frog": 2, "a": 3}, unk_token="[UNK]"))
    tokens.pre_tokenizer = Whitespace()
    tokens.enable_truncation(4)
    path = tmp_path / "tokenizer.json"
    tokens.save(str(path))
    return path


def _picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 4), (shade, 0, 0)).save(out, "PNG")
    return out.getvalue()


def _manifest(tmp_path: Path, splits: list[str | None]) -> Path:
    lines = []
    for i, split in enumerate(splits):
        (tmp_path / f"{i}.png").write_bytes(_picture(i) if i != 1 else b"not a picture")
        item: dict[str, Any] = {"id": f"item{i}", "title": "Frog", "description": f"A frog {i}."}
        item |= {"media": [{"path": f"{i}.png"}]} | ({"split": split} if split else {})
        lines.append(json.dumps(item))
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_test_split_is_never_read(tmp_path: Path, tokenizer: Path) -> None:
    samples = Samples(_manifest(tmp_path, ["train", "validation", "test"] * 6), tokenizer)
    seen = {
        sample.meaning
        for split in ("train", "validation")
        for sample in samples.take("encode_text", split, 99)
    }
    assert seen == {f"frog {i}" for i in range(18) if i % 3 != 2}
    with pytest.raises(SamplesError, match="only 0 inputs"):
        samples.take("encode_text", "test", 99)


def test_broken_files_are_passed_over_and_the_order_is_fixed(tmp_path: Path, tokenizer: Path) -> None:
    manifest = _manifest(tmp_path, ["train"] * 8)
    first, second = (Samples(manifest, tokenizer).take("encode_image", "train", 99) for _ in range(2))
    assert len(first) == 7
    assert [sample.meaning for sample in first] == [sample.meaning for sample in second]
    assert first[0].feed["pixels"].shape == (1, 260, 260, 3)
    assert first[0].feed["pixels"].dtype == np.uint8


def test_a_catalogue_without_splits_is_dealt_by_meaning(tmp_path: Path, tokenizer: Path) -> None:
    samples = Samples(_manifest(tmp_path, [None] * 40), tokenizer)
    train, held = (samples.take("encode_text", split, 99) for split in ("train", "validation"))
    assert len(train) + len(held) == 40
    assert not {sample.meaning for sample in train} & {sample.meaning for sample in held}


def test_too_few_inputs_are_an_error(tmp_path: Path, tokenizer: Path) -> None:
    samples = Samples(_manifest(tmp_path, ["train"] * 3), tokenizer)
    with pytest.raises(SamplesError, match="only 3 inputs for encode_text"):
        samples.take("encode_text", "train", 99)


def test_no_catalogue_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="make catalogue"):
        find_manifest(tmp_path)


def test_text_is_padded_to_its_bucket_and_not_cut(tmp_path: Path, tokenizer: Path) -> None:
    samples = Samples(_manifest(tmp_path, ["train"] * 4), tokenizer)
    feed = samples.text("a frog " * 20)
    assert feed["input_ids"].shape == (1, 64)
    assert feed["attention_mask"].sum() == 40
    assert feed["input_ids"][0, :2].tolist() == [3, 2]
    assert not feed["input_ids"][0, 40:].any()


def test_batches_hold_equal_shapes_and_lose_nothing() -> None:
    lengths = [16, 32, 16, 16, 32, 64]
    samples = [Sample("", "", {"input_ids": np.full((1, n), i)}) for i, n in enumerate(lengths)]
    seen = []
    for rows, feed in batches(samples, 2):
        assert len(rows) <= 2
        assert feed["input_ids"].shape == (len(rows), lengths[rows[0]])
        assert feed["input_ids"][:, 0].tolist() == rows
        seen += rows
    assert sorted(seen) == list(range(6))
