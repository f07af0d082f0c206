"""EfficientNet-Lite2 in torch, written after Tan & Le, "EfficientNet" (arXiv:1905.11946) and the Lite
variant's notes (tensorflow/tpu, models/official/efficientnet/lite): no squeeze-and-excitation, ReLU6 for
swish, stem and head not scaled. Attribute names follow the published checkpoint, so that it loads with
every key matched.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from export.errors import WeightsError

__all__ = [
    "CLASSES",
    "FEATURES",
    "FIRST_TUNED",
    "PIXELS",
    "EfficientNetLite2",
    "lay_tuned",
    "load_efficientnet",
    "tuned_names",
]

PIXELS = 260
FEATURES = 1280
CLASSES = 1000
FIRST_TUNED = 16
"""Blocks before this one keep their published weights; the classifier keeps its own too."""

_WIDTH, _DEPTH = 1.1, 1.2
# (repeats, kernel, stride, expansion, output channels) of the seven stages before scaling
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32


def _channels(count: int) -> int:
    """Scaled width, rounded to a multiple of 8 but never by more than 10 % down (section 5 of the paper)."""
    wide = count * _WIDTH
    rounded = max(8, int(wide + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wide else rounded


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding for a known input side: the odd pixel goes right and
    below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, side: int) -> None:
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        odd = total % 2
        super().__init__(
            inputs, outputs, kernel, stride, padding=0 if odd else total // 2, groups=groups, bias=False
        )
        # an even padding belongs to the convolution itself, which spares the graph a copy of its input
        self._pad = (total // 2, total - total // 2) * 2 if odd else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, side, side] -> [B, C', ceil(side / stride), ceil(side / stride)]."""
        out: torch.Tensor = super().forward(x if self._pad is None else F.pad(x, self._pad))
        return out


class _Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1 (Sandler et al., arXiv:1801.04381)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, side: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = _SameConv(inputs, hidden, 1, 1, 1, side)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = _SameConv(hidden, hidden, kernel, stride, hidden, side)
        self._bn1 = _norm(hidden)
        self._project_conv = _SameConv(hidden, outputs, 1, 1, 1, math.ceil(side / stride))
        self._bn2 = _norm(outputs)
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, side, side] -> [B, C', side', side']."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = cast(torch.Tensor, self._bn2(self._project_conv(y)))
        return x + y if self._adds else y


class EfficientNetLite2(nn.Module):
    """Classifier of 260 x 260 pictures; see :meth:`forward`."""

    def __init__(self) -> None:
        super().__init__()
        side = PIXELS
        self._conv_stem = _SameConv(3, _STEM, 3, 2, 1, side)
        self._bn0 = _norm(_STEM)
        side = math.ceil(side / 2)
        blocks: list[_Block] = []
        inputs = _STEM
        for stage, (repeats, kernel, stride, expansion, width) in enumerate(_STAGES):
            # "fixed stem and head": the first and the last stage keep their depth
            fixed = stage in (0, len(_STAGES) - 1)
            outputs = _channels(width)
            for repeat in range(repeats if fixed else math.ceil(repeats * _DEPTH)):
                step = stride if repeat == 0 else 1
                blocks.append(_Block(inputs, outputs, kernel, step, expansion, side))
                inputs, side = outputs, math.ceil(side / step)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _SameConv(inputs, FEATURES, 1, 1, 1, side)
        self._bn1 = _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """FP32 [B, 3, 260, 260], each value (pixel - 127) / 128 -> features [B, 1280], logits [B, 1000]."""
        return self.back(self.front(x, 0), 0)

    def front(self, x: torch.Tensor, stop: int) -> torch.Tensor:
        """FP32 [B, 3, side, side] -> what block `stop` reads, FP32 [B, C, side', side'].

        Sides other than 260 are padded alike where they are odd and even at the same places (196 is).
        """
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in list(self._blocks)[:stop]:
            x = block(x)
        return x

    def back(self, x: torch.Tensor, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What block `start` reads -> features [B, 1280], logits [B, 1000]."""
        for block in list(self._blocks)[start:]:
            x = block(x)
        features = F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
        return features, self._fc(features)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def load_efficientnet(path: Path) -> EfficientNetLite2:
    """The ImageNet checkpoint at ``path`` in evaluation mode.

    Raises:
        WeightsError: a key is missing, left over or of another shape.
    """
    model = EfficientNetLite2()
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{path.name}: {error}") from error
    return model.eval()


def tuned_names(network: EfficientNetLite2) -> list[str]:
    """Names of the state that fine-tuning may change, batch-norm statistics included."""
    fixed = ("_conv_stem.", "_bn0.", "_fc.", *(f"_blocks.{number}." for number in range(FIRST_TUNED)))
    return [
        name
        for name, value in network.state_dict().items()
        if not name.startswith(fixed) and value.is_floating_point()
    ]


def lay_tuned(network: EfficientNetLite2, path: Path) -> None:
    """Lay fine-tuned blocks (safetensors, FP16 or FP32) over the published weights, in place.

    Raises:
        WeightsError: the file is missing or damaged, or a tensor is missing, left over or of another shape.
    """
    try:
        state = {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: {error}; restore it from git, or run the fine-tuning again") from error
    if set(state) != set(tuned_names(network)):
        raise WeightsError(f"{path} does not hold the tensors of blocks {FIRST_TUNED} and up")
    try:
        network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{path}: {error}") from error
