"""Checkpoints to ONNX to INT8 to the model repository, each step measured; ``python -m export --help``."""

from __future__ import annotations

__all__: list[str] = []
