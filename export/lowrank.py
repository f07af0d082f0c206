"""Low-rank changes of published weights: W + B A (LoRA, Hu et al. 2021, arXiv:2106.09685), added once, before
export, so that serving costs what it did."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from export.errors import WeightsError

__all__ = ["DOWN", "UP", "lay_low_rank"]

DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def lay_low_rank(module: nn.Module, path: Path) -> None:
    """Add the changes in a file (safetensors, FP16 or FP32) to `module`'s weights, in FP32 and in place.

    The file holds pairs `<layer>.lora_A.weight` [rank, inputs] and `<layer>.lora_B.weight` [outputs, rank],
    any scale multiplied in.

    Raises:
        WeightsError: the file is missing or damaged, a pair is not whole, or it fits no weight of `module`.
    """
    try:
        state = {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: {error}; restore it from git, or run the fine-tuning again") from error
    layers = {name.removesuffix(DOWN) for name in state if name.endswith(DOWN)}
    if not layers or set(state) != {layer + end for layer in layers for end in (DOWN, UP)}:
        raise WeightsError(f"{path} does not hold pairs of low-rank matrices")
    weights = dict(module.named_parameters())
    with torch.no_grad():
        for layer in sorted(layers):
            down, up = state[layer + DOWN], state[layer + UP]
            weight = weights.get(f"{layer}.weight")
            fits = down.ndim == up.ndim == 2 and up.shape[1] == down.shape[0]
            if weight is None or not fits or weight.shape != (up.shape[0], down.shape[1]):
                raise WeightsError(f"{path}: the change of {layer!r} fits no weight")
            weight.add_(up @ down)
