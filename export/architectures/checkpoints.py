"""Checkpoints as hubs have them: safetensors, or the pickle of torch, of which tensors alone are read."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from export.errors import WeightsError

__all__ = ["read_checkpoint"]


def read_checkpoint(path: Path, part: str | None = None) -> dict[str, torch.Tensor]:
    """Every tensor by name, floating ones as FP32; of a file that keeps more than tensors those under
    ``part``. Raises WeightsError."""
    found: object
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text goes on to say how to let such a file run its code
        raise WeightsError(f"{path} holds more than tensors, or is no checkpoint: not read") from error
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{path}: {error}") from error
    if part is not None:
        found = found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not all(isinstance(each, torch.Tensor) for each in found.values()):
        where = "" if part is None else f" under {part!r}"
        raise WeightsError(f"{path} holds something else than named tensors{where}")
    return {name: each.float() if each.is_floating_point() else each for name, each in found.items()}
