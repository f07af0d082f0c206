"""Learned fusion on its way into ``embedding.json``: only beside the calibration whose scores it weighs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.errors import InstallError

__all__ = ["calibration_hash", "fusion_weights"]


def calibration_hash(calibration: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 over (scale, bias) of every pair."""
    pairs = {name: [float(entry["scale"]), float(entry["bias"])] for name, entry in calibration.items()}
    return hashlib.sha256(json.dumps(pairs, sort_keys=True).encode()).hexdigest()


def fusion_weights(folder: Path, calibration: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """What ``fusion.json`` of a checkpoint folder holds for ``embedding.json``: by query modality.

    None when nothing was learned, or when it was learned from another calibration.

    Raises:
        InstallError: the file is malformed.
    """
    path = folder / "fusion.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        learned: Mapping[str, Any] = content["fusion"]
        same = content["calibration"] == calibration_hash(calibration)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InstallError(f"{path}: no usable fusion weights ({error}); run `make fusion`") from error
    return learned if same and learned else None
