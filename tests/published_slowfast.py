"""PyTorchVideo's `slowfast_r50` by its own names, without PyTorchVideo: shapes, random weights, outcome.

Written after pytorchvideo 0.1.5 (models/slowfast.py, resnet.py, stem.py, head.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

R50 = (3, 4, 6, 3)
_NORM = ("weight", "bias", "running_mean", "running_var")
State = Mapping[str, torch.Tensor]


def shapes(depths: Sequence[int] = R50, channels: int = 64, classes: int = 400) -> dict[str, tuple[int, ...]]:
    """Every tensor of the state dict, by name."""
    found: dict[str, tuple[int, ...]] = {}

    def layer(conv: str, norm: str, outputs: int, inputs: int, *kernel: int) -> None:
        found[f"{conv}.weight"] = (outputs, inputs, *kernel)
        found.update({f"{norm}.{name}": (outputs,) for name in _NORM})
        found[f"{norm}.num_batches_tracked"] = ()

    widths = [channels, channels // 8]
    for way, time in enumerate((1, 5)):
        name = f"blocks.0.multipathway_blocks.{way}"
        layer(f"{name}.conv", f"{name}.norm", widths[way], 3, time, 7, 7)
    for stage, depth in enumerate(depths):
        fusion = f"blocks.{stage}.multipathway_fusion"
        layer(f"{fusion}.conv_fast_to_slow", f"{fusion}.norm", 2 * widths[1], widths[1], 7, 1, 1)
        inputs = [widths[0] + 2 * widths[1], widths[1]]
        for way, time in enumerate((1 if stage < 2 else 3, 3)):
            inner = channels * 2**stage // (8 if way else 1)
            for block in range(depth):
                name = f"blocks.{stage + 1}.multipathway_blocks.{way}.res_blocks.{block}"
                read = 4 * inner if block else inputs[way]
                if not block:
                    layer(f"{name}.branch1_conv", f"{name}.branch1_norm", 4 * inner, read, 1, 1, 1)
                for part, outputs, given, kernel in (
                    ("a", inner, read, (time, 1, 1)),
                    ("b", inner, inner, (1, 3, 3)),
                    ("c", 4 * inner, inner, (1, 1, 1)),
                ):
                    branch = f"{name}.branch2"
                    layer(f"{branch}.conv_{part}", f"{branch}.norm_{part}", outputs, given, *kernel)
            widths[way] = 4 * inner
    head = f"blocks.{len(depths) + 2}.proj"
    return found | {f"{head}.weight": (classes, sum(widths)), f"{head}.bias": (classes,)}


def random_state(depths: Sequence[int], channels: int) -> dict[str, torch.Tensor]:
    """Random weights of a small one, that keep values near 1 and norms away from what they begin as."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes(depths, channels).items():
        if not shape:
            state[name] = torch.tensor(7)
        elif len(shape) > 1:
            spread = (2 / torch.Size(shape[1:]).numel()) ** 0.5
            state[name] = torch.randn(shape, generator=generator) * spread
        else:
            low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
            state[name] = low + torch.rand(shape, generator=generator)
    return state


def pooled(state: State, clip: torch.Tensor, depths: Sequence[int]) -> torch.Tensor:
    """clip FP32 [B, 3, T, side, side] -> what the last layer reads, FP32 [B, D]: slow before fast."""
    frames = clip.shape[2]
    ways = [clip[:, :, torch.linspace(0, frames - 1, frames // 4).long()], clip]
    for way in (0, 1):
        name = f"blocks.0.multipathway_blocks.{way}"
        ways[way] = F.relu(_layer(state, f"{name}.conv", f"{name}.norm", ways[way], (1, 2, 2)))
        ways[way] = F.max_pool3d(ways[way], (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, depth in enumerate(depths):
        fusion = f"blocks.{stage}.multipathway_fusion"
        told = _layer(state, f"{fusion}.conv_fast_to_slow", f"{fusion}.norm", ways[1], (4, 1, 1))
        ways[0] = torch.cat([ways[0], F.relu(told)], dim=1)
        for way in (0, 1):
            for block in range(depth):
                step = 2 if stage and not block else 1
                name = f"blocks.{stage + 1}.multipathway_blocks.{way}.res_blocks.{block}"
                ways[way] = _res_block(state, name, ways[way], (1, step, step))
    return torch.cat([way.mean(dim=(2, 3, 4)) for way in ways], dim=1)


def _res_block(state: State, name: str, x: torch.Tensor, stride: tuple[int, int, int]) -> torch.Tensor:
    y = F.relu(_layer(state, f"{name}.branch2.conv_a", f"{name}.branch2.norm_a", x))
    y = F.relu(_layer(state, f"{name}.branch2.conv_b", f"{name}.branch2.norm_b", y, stride))
    y = _layer(state, f"{name}.branch2.conv_c", f"{name}.branch2.norm_c", y)
    if f"{name}.branch1_conv.weight" in state:
        x = _layer(state, f"{name}.branch1_conv", f"{name}.branch1_norm", x, stride)
    return F.relu(x + y)


def _layer(
    state: State, conv: str, norm: str, x: torch.Tensor, stride: tuple[int, int, int] = (1, 1, 1)
) -> torch.Tensor:
    weight = state[f"{conv}.weight"]
    padding = tuple(size // 2 for size in weight.shape[2:])
    scale, shift, mean, variance = (state[f"{norm}.{name}"] for name in _NORM)
    return F.batch_norm(F.conv3d(x, weight, None, stride, padding), mean, variance, scale, shift)
