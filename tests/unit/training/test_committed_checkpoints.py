"""The checkpoints in the repository are what serving needs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from export.adapters import load_heads
from export.fusion import calibration_hash
from training.checkpoints import MAX_BYTES
from training.run import NATIVE_PAIRS
from training.validation import MODALITIES

CHECKPOINTS = Path(__file__).resolve().parents[3] / "training" / "checkpoints"


def test_heads_load_are_finite_and_small() -> None:
    heads = load_heads("lite", CHECKPOINTS)
    for head in (heads.text, heads.image, heads.audio, heads.video):
        assert all(torch.isfinite(value).all() for value in head.state_dict().values())
    assert max(path.stat().st_size for path in (CHECKPOINTS / "lite").glob("*.safetensors")) <= MAX_BYTES


def test_calibration_covers_every_pair_and_rises() -> None:
    table = json.loads((CHECKPOINTS / "lite" / "calibration.json").read_text())
    pairs = {f"{query}->{item}" for query in MODALITIES for item in MODALITIES}
    assert set(table) == pairs | set(NATIVE_PAIRS)
    for name, entry in table.items():
        assert entry["scale"] > 0, name
        assert math.isfinite(entry["scale"]), name
        assert math.isfinite(entry["bias"]), name
        assert entry["fitted_on"] in table, name


def test_metrics_are_json_without_nan_and_name_no_test_figure() -> None:
    text = (CHECKPOINTS / "lite" / "metrics.json").read_text()
    assert "NaN" not in text
    metrics = json.loads(text)
    assert metrics["validation"]["text->image"]["queries"] == 131
    assert "test" not in metrics


def test_fusion_weights_are_for_the_committed_calibration_and_never_negative() -> None:
    folder = CHECKPOINTS / "lite"
    content = json.loads((folder / "fusion.json").read_text())
    calibration = json.loads((folder / "calibration.json").read_text())
    assert content["calibration"] == calibration_hash(calibration)
    for modality, fusion in content["fusion"].items():
        assert math.isfinite(fusion["bias"])
        for name, pair in fusion["pairs"].items():
            assert name.startswith((f"{modality}->", "transcript->"))
            assert pair["weight"] >= 0, name
            assert math.isfinite(pair["floor"]), name
