"""SlowFast R50 8x8 in torch, written after Feichtenhofer et al. 2019, "SlowFast Networks for Video
Recognition" (arXiv:1812.03982): table 1, section 3 and, for lateral convolutions over 7 frames, the authors'
model zoo.

Two ResNet-50s read one clip: the slow one few frames and many channels, the fast one all frames and an eighth
of the channels. After the stem and each of the first three stages what the fast one sees is joined to the
slow one. In the slow pathway only the last two stages look over time.

Weights are those of PyTorchVideo's `slowfast_r50` (Kinetics-400), whose names ``renamed`` reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from export.errors import WeightsError

__all__ = ["SlowFast", "renamed"]

ALPHA = 4
"""Frames of the fast pathway for each of the slow one."""
_BETA = 8
"""Channels of the slow pathway for each of the fast one."""
_EXPANSION = 4
_LATERAL = 7

_PATHWAYS = {"0": "slow", "1": "fast"}
_KINDS = {"conv": 0, "norm": 1}
"""Where the two stand in ``_ConvNorm``."""
_STEM = re.compile(r"blocks\.0\.multipathway_blocks\.(?P<way>[01])\.(?P<kind>conv|norm)\.(?P<rest>\w+)")
_FUSION = re.compile(
    r"blocks\.(?P<stage>\d+)\.multipathway_fusion\.(?P<kind>conv|norm)(?:_fast_to_slow)?\.(?P<rest>\w+)"
)
_BLOCK = re.compile(
    r"blocks\.(?P<stage>[1-9])\.multipathway_blocks\.(?P<way>[01])\.res_blocks\.(?P<block>\d+)"
    r"\.(?:branch1_(?P<short>conv|norm)|branch2\.(?P<kind>conv|norm)_(?P<place>[abc]))\.(?P<rest>\w+)"
)
_CLASSES = re.compile(r"blocks\.\d+\.proj\.(weight|bias)")


class _ConvNorm(nn.Sequential):
    """3-D convolution without bias, batch norm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        time, height, width = kernel
        padding = (time // 2, height // 2, width // 2)
        super().__init__(
            nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm3d(outputs)
        )


class _Bottleneck(nn.Module):
    """[B, inputs, T, H, W] -> [B, 4 x inner, T, H', W']; the first convolution looks over ``time`` frames."""

    def __init__(self, inputs: int, inner: int, time: int, stride: int) -> None:
        super().__init__()
        outputs = inner * _EXPANSION
        self.first = _ConvNorm(inputs, inner, (time, 1, 1))
        self.second = _ConvNorm(inner, inner, (1, 3, 3), (1, stride, stride))
        self.third = _ConvNorm(inner, outputs, (1, 1, 1))
        changes = inputs != outputs or stride != 1
        self.shortcut = _ConvNorm(inputs, outputs, (1, 1, 1), (1, stride, stride)) if changes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.third(F.relu(self.second(F.relu(self.first(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class SlowFast(nn.Module):
    """clip FP32 [B, 3, T, side, side], T a multiple of 4 -> FP32 [B, width]: both pathways' means, joined.

    ``depths`` are the blocks of the four stages, ``channels`` what the slow stem gives; (3, 4, 6, 3) and 64
    are ResNet-50's, with 2,304 = 2,048 + 256 dimensions.
    """

    def __init__(self, depths: tuple[int, ...] = (3, 4, 6, 3), channels: int = 64) -> None:
        super().__init__()
        fast = channels // _BETA
        self.slow_stem = _ConvNorm(3, channels, (1, 7, 7), (1, 2, 2))
        self.fast_stem = _ConvNorm(3, fast, (5, 7, 7), (1, 2, 2))
        laterals, slow_stages, fast_stages = [], [], []
        slow_in, fast_in = channels, fast
        for stage, depth in enumerate(depths):
            laterals.append(_ConvNorm(fast_in, 2 * fast_in, (_LATERAL, 1, 1), (ALPHA, 1, 1)))
            slow_inner, fast_inner = channels * 2**stage, fast * 2**stage
            stride = 1 if stage == 0 else 2
            slow_time = 1 if stage < 2 else 3
            slow_stages.append(_stage(slow_in + 2 * fast_in, slow_inner, depth, slow_time, stride))
            fast_stages.append(_stage(fast_in, fast_inner, depth, 3, stride))
            slow_in, fast_in = slow_inner * _EXPANSION, fast_inner * _EXPANSION
        self.laterals = nn.ModuleList(laterals)
        self.slow_stages, self.fast_stages = nn.ModuleList(slow_stages), nn.ModuleList(fast_stages)
        self.width = slow_in + fast_in

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        # The frames that the published weights were trained on: evenly from the first to the last.
        frames = int(clip.shape[2])
        chosen = torch.linspace(0, frames - 1, frames // ALPHA, device="cpu").long().to(clip.device)
        slow = _shrunk(F.relu(self.slow_stem(clip.index_select(2, chosen))))
        fast = _shrunk(F.relu(self.fast_stem(clip)))
        for lateral, slow_stage, fast_stage in zip(
            self.laterals, self.slow_stages, self.fast_stages, strict=True
        ):
            slow = cast(torch.Tensor, slow_stage(torch.cat([slow, F.relu(lateral(fast))], dim=1)))
            fast = cast(torch.Tensor, fast_stage(fast))
        return torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1)


def _stage(inputs: int, inner: int, depth: int, time: int, stride: int) -> nn.Sequential:
    first = _Bottleneck(inputs, inner, time, stride)
    rest = (_Bottleneck(inner * _EXPANSION, inner, time, 1) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)


def _shrunk(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool3d(x, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


def renamed(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """PyTorchVideo's tensors by the names of ``SlowFast``; its last layer, over classes, is left out.

    Raises:
        WeightsError: a tensor is none of PyTorchVideo's SlowFast.
    """
    return {_name(name): tensor for name, tensor in published.items() if not _CLASSES.fullmatch(name)}


def _name(published: str) -> str:
    if found := _STEM.fullmatch(published):
        return f"{_PATHWAYS[found['way']]}_stem.{_KINDS[found['kind']]}.{found['rest']}"
    if found := _FUSION.fullmatch(published):
        return f"laterals.{found['stage']}.{_KINDS[found['kind']]}.{found['rest']}"
    if found := _BLOCK.fullmatch(published):
        place = {None: "shortcut", "a": "first", "b": "second", "c": "third"}[found["place"]]
        stages = f"{_PATHWAYS[found['way']]}_stages.{int(found['stage']) - 1}"
        kind = _KINDS[found["short"] or found["kind"]]
        return f"{stages}.{found['block']}.{place}.{kind}.{found['rest']}"
    raise WeightsError(f"{published} is no tensor of PyTorchVideo's SlowFast")
