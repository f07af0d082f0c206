"""Trained heads as safetensors: FP16, at most 10 MB each, with the constructor's arguments in the
metadata."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from export.adapters import Heads
from training.errors import TrainingError

__all__ = ["MAX_BYTES", "save_heads", "save_tensors", "write_json"]

MAX_BYTES = 10_000_000


def save_heads(heads: Heads, folder: Path) -> None:
    """Write text, image, audio and video.safetensors; each appears whole or not at all.

    Raises:
        TrainingError: a file would be larger than MAX_BYTES.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = {"top": heads.image.top, "points": heads.image.points, "hidden": heads.image.hidden}
    configs = {"text": {"hidden": heads.text.hidden}, "image": image, "audio": {"hidden": _hidden(heads)}}
    modules: dict[str, nn.Module] = {
        "text": heads.text,
        "image": heads.image,
        "audio": heads.audio,
        "video": heads.video,
    }
    for name, module in modules.items():
        state = {
            key: value.detach().to(torch.float16).contiguous()
            for key, value in module.state_dict().items()
            if not (name == "video" and key.startswith("image."))
        }
        save_tensors(state, folder / f"{name}.safetensors", configs.get(name, {}))


def save_tensors(
    state: dict[str, torch.Tensor], path: Path, config: object, max_bytes: int = MAX_BYTES
) -> None:
    """One safetensors file with `config` as JSON in its metadata; it appears whole or not at all.

    Raises:
        TrainingError: it would be larger than `max_bytes`.
    """
    partial = path.with_suffix(".partial")
    save_file(state, partial, metadata={"config": json.dumps(config)})
    if partial.stat().st_size > max_bytes:
        partial.unlink()
        raise TrainingError(f"{path.name} would be larger than {max_bytes} bytes")
    partial.chmod(0o644)  # safetensors writes files that only their owner may read
    partial.replace(path)


def write_json(path: Path, content: object) -> None:
    """JSON with sorted keys, replaced in one step."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def _hidden(heads: Heads) -> int:
    return heads.audio.unified.outer.in_features
