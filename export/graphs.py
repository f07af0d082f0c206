"""The served graphs: each encoder with its adapter fused behind it, and their export to ONNX.

The TorchScript exporter is used on purpose. It takes 2 s where the torch.export one takes 20, its node
names follow the modules (the INT8 recipes name nodes by them), and it keeps LayerNormalization whole from
opset 17 on. The price is that sizes must stay symbolic under tracing, which the parity step checks at
several shapes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.jit._trace import TracerWarning

from export.adapters import Heads
from export.encoders import AudioEncoder, ImageEncoder, TextEncoder, load_audio, load_image, load_text
from export.profile import Profile
from export.settings import Settings

__all__ = ["GRAPHS", "SOUND_AXES", "Graph", "export_graph", "pictures", "sound_example", "text_example"]

OPSET = 17
FRAMES, SIDE_PX = 8, 260
SOUND = 288


class _Text(nn.Module):
    def __init__(self, encoder: TextEncoder, head: nn.Module) -> None:
        super().__init__()
        self.text, self.head = encoder, head

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.head(self.text(input_ids, attention_mask))
        return embedding


class _Image(nn.Module):
    def __init__(self, encoder: ImageEncoder, head: nn.Module) -> None:
        super().__init__()
        self.image, self.head = encoder, head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.head(*self.image(pixels))
        return embedding


class _Audio(nn.Module):
    def __init__(self, encoder: AudioEncoder, head: nn.Module) -> None:
        super().__init__()
        self.audio, self.head = encoder, head

    def forward(self, samples: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding, native = self.head(self.audio(samples, mask))
        return embedding, native


class _Video(nn.Module):
    def __init__(self, image: ImageEncoder, audio: AudioEncoder, head: nn.Module) -> None:
        super().__init__()
        self.image, self.audio, self.head = image, audio, head

    def forward(
        self, frames: torch.Tensor, samples: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        features, logits = self.image(frames.reshape(-1, SIDE_PX, SIDE_PX, 3))
        features = features.reshape(-1, FRAMES, features.shape[1])
        logits = logits.reshape(-1, FRAMES, logits.shape[1])
        sound = self.audio(samples, mask)[:, :SOUND]
        has_sound = (mask.sum(dim=1) > 0).float()
        embedding, native = self.head(features, logits, sound, has_sound)
        return embedding, native


@dataclass(frozen=True)
class Graph:
    """One served graph: its tensors by name, and how its torch module is put together.

    ``inputs`` maps each input to its axes' names: a name is dynamic, a number is fixed.
    """

    name: str
    inputs: dict[str, tuple[str | int, ...]]
    outputs: dict[str, int]
    sources: tuple[str, ...]
    build: Callable[[Profile, Settings, Callable[[], Heads]], nn.Module]
    example: Callable[[], tuple[torch.Tensor, ...]]
    heads: tuple[str, ...] = ()
    """Trained heads of ``lite`` that it is fused with."""
    timed: tuple[str, ...] = ()
    """Outputs with a time axis behind the batch, of any length: held by parity alone."""
    modules: tuple[str, ...] = ("adapters", "efficientnet", "encoders", "fetch", "graphs", "moonshine")
    """Modules of this room that make it: a change of one does its steps again."""


def text_example() -> tuple[torch.Tensor, ...]:
    """Token rows to trace with, INT64 [2, 32] twice."""
    mask = torch.ones(2, 32, dtype=torch.int64)
    mask[1, 20:] = 0
    return torch.arange(1000, 1064).reshape(2, 32) * mask, mask


def sound_example() -> tuple[torch.Tensor, torch.Tensor]:
    """A second of sound to trace with, FP32 and INT64 [2, 16000]."""
    mask = torch.ones(2, 16000, dtype=torch.int64)
    mask[1, 9000:] = 0
    time_s = torch.arange(16000) / 16000
    return (0.3 * torch.sin(2 * torch.pi * 440 * time_s)[None, :] * mask).float(), mask


def pictures(*shape: int, side_px: int = SIDE_PX) -> torch.Tensor:
    """UINT8 [*shape, side, side, 3] to trace with."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (*shape, side_px, side_px, 3), dtype=torch.uint8, generator=generator)


SOUND_AXES: dict[str, tuple[str | int, ...]] = {"samples": ("batch", "length"), "mask": ("batch", "length")}

GRAPHS: dict[str, Graph] = {
    graph.name: graph
    for graph in (
        Graph(
            "encode_text",
            {"input_ids": ("batch", "length"), "attention_mask": ("batch", "length")},
            {"embedding": 1024},
            ("minilm",),
            lambda profile, settings, heads: _Text(load_text(profile, settings), heads().text),
            text_example,
            ("text",),
        ),
        Graph(
            "encode_image",
            {"pixels": ("batch", SIDE_PX, SIDE_PX, 3)},
            {"embedding": 1024},
            ("efficientnet",),
            lambda profile, settings, heads: _Image(load_image(profile, settings), heads().image),
            lambda: (pictures(2),),
            ("image",),
        ),
        Graph(
            "encode_audio",
            SOUND_AXES,
            {"embedding": 1024, "native": 512},
            ("moonshine",),
            lambda profile, settings, heads: _Audio(load_audio(profile, settings), heads().audio),
            sound_example,
            ("audio",),
        ),
        Graph(
            "encode_video",
            {"frames": ("batch", FRAMES, SIDE_PX, SIDE_PX, 3), **SOUND_AXES},
            {"embedding": 1024, "native": 2048},
            ("efficientnet", "moonshine"),
            lambda profile, settings, heads: _Video(
                load_image(profile, settings), load_audio(profile, settings), heads().video
            ),
            lambda: (pictures(2, FRAMES), *sound_example()),
            ("image", "video"),
        ),
    )
}


def export_graph(graph: Graph, module: nn.Module, path: Path) -> None:
    """Write ``module`` as one ONNX file of opset 17, batch and length dynamic.

    Args:
        graph: names and shapes of the tensors.
        module: what ``graph.build`` made, in evaluation mode.
        path: the file to write.
    """
    axes = {
        name: {i: axis for i, axis in enumerate(shape) if isinstance(axis, str)}
        for name, shape in graph.inputs.items()
    }
    axes |= {name: {0: "batch"} for name in graph.outputs}
    axes |= {name: {0: "batch", 1: "frames"} for name in graph.timed}
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter is deprecated (see above); the tracer warns of each size it keeps as a constant, and
        # the parity step holds at other sizes.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        warnings.filterwarnings("ignore", message="Constant folding")
        torch.onnx.export(
            module,
            graph.example(),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    _declare_unread(graph, path)


def _declare_unread(graph: Graph, path: Path) -> None:
    """Put inputs that nothing reads back into the graph: the exporter drops them, servers hand them over."""
    model = onnx.load(str(path), load_external_data=False)
    declared = {tensor.name for tensor in model.graph.input}
    if declared == set(graph.inputs):
        return
    for name, example in zip(graph.inputs, graph.example(), strict=True):
        if name not in declared:
            kind = onnx.helper.np_dtype_to_tensor_dtype(example.numpy().dtype)
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, graph.inputs[name]))
    onnx.save_model(model, str(path))
