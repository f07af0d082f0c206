"""Heads that carry each encoder's output into the unified space; `export` fuses them into the ONNX graphs.

The unified space has 1,024 dimensions in three blocks, so that several ways of comparing live in one cosine:

    semantic [384]   the text encoder's space, centred; pictures get there by class words and a ridge map
    learned  [384]   the same, plus a residual trained by InfoNCE (van den Oord et al. 2018, arXiv:1807.03748)
    visual   [256]   what only pictures have, zero for text and sound: image-to-image search keeps its detail

Every block is unit norm before its weight, so a weight is that block's fixed share of the cosine. All heads
take and give FP32 with the batch in front; `embedding` is unit norm. `training` fits them, `load_heads`
reads them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from export.errors import WeightsError

__all__ = [
    "EMBEDDING_DIM",
    "AudioHead",
    "Heads",
    "ImageHead",
    "Kernel",
    "Projection",
    "TextHead",
    "VideoHead",
    "load_heads",
]

SEMANTIC_DIM, LEARNED_DIM, VISUAL_DIM = 384, 384, 256
EMBEDDING_DIM = SEMANTIC_DIM + LEARNED_DIM + VISUAL_DIM
TEXT_DIM, IMAGE_DIM, CLASSES, AUDIO_DIM, SOUND_DIM = 384, 1280, 1000, 576, 288
AUDIO_NATIVE_DIM, MOTION_DIM, VIDEO_NATIVE_DIM = 512, 480, 2048
KERNEL_AXES = 256


class Projection(nn.Module):
    """Standardise, then a linear map or (hidden > 0) one GELU layer: [B, inputs] -> [B, outputs]."""

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int, outputs: int, hidden: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.inner = nn.Linear(inputs, hidden) if hidden else None
        self.outer = nn.Linear(hidden or inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) * self.scale
        if self.inner is not None:
            x = gelu(self.inner(x))
        out: Tensor = self.outer(x)
        return out


class Kernel(nn.Module):
    """Standardise, turn to the main axes, then weigh `points` by a Gaussian of their distance: [B, inputs] ->
    [B, outputs].

    Kernel ridge regression's prediction (Saunders et al. 1998): a picture that lies near some of the training
    pictures gets their texts. `width` is what the squared distance is multiplied by.
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor
    points: Tensor
    width: Tensor

    def __init__(self, inputs: int, outputs: int, points: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("axes", torch.zeros(inputs, KERNEL_AXES))
        self.register_buffer("points", torch.zeros(points, KERNEL_AXES))
        self.register_buffer("width", torch.tensor(1.0))
        self.outer = nn.Linear(points, outputs, bias=False)

    def near(self, x: Tensor) -> Tensor:
        """How near x [B, inputs] is to every point: [B, points], 1 where it is one."""
        z = ((x - self.mean) * self.scale) @ self.axes
        # |z|^2 + |p|^2 - 2 z.p, as ONNX has no pairwise distance
        squared = z.square().sum(1, keepdim=True) + self.points.square().sum(1) - 2 * z @ self.points.T
        return torch.exp(-self.width * squared.clamp(min=0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outer(self.near(x))
        return out


class TextHead(nn.Module):
    """pooled [B, 384] (mean-pooled tokens, any norm) -> embedding [B, 1024].

    `hidden` is the width of the residual's inner layer; 0: it is a linear map.
    """

    mean: Tensor
    weights: Tensor

    def __init__(self, hidden: int = 0) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("mean", torch.zeros(TEXT_DIM))
        self.learned = Projection(TEXT_DIM, LEARNED_DIM, hidden)
        self.register_buffer("weights", torch.ones(2))

    def forward(self, pooled: Tensor) -> Tensor:
        semantic = normalize(normalize(pooled, dim=-1) - self.mean, dim=-1)
        learned = normalize(semantic + self.learned(semantic), dim=-1)
        visual = torch.zeros_like(semantic[:, :VISUAL_DIM])
        blocks = [self.weights[0] * semantic, self.weights[1] * learned, visual]
        return normalize(torch.cat(blocks, dim=-1), dim=-1)


class ImageHead(nn.Module):
    """(features [B, 1280], logits [B, 1000]) -> embedding [B, 1024].

    `prototypes` [1000, 384] are text embeddings of the classes' words. The `top` classes, weighted by a
    softmax of the logits, name the picture: a convex combination of semantic embeddings (Norouzi et al. 2013,
    arXiv:1312.5650). `prior` [1000] is what the classifier says of any drawing, whatever it shows, and is
    taken off first (logit adjustment, Menon et al. 2021, arXiv:2007.07314). `semantic_map` is a ridge
    regression to the text space, `mix` its share beside the words: linear, or over the nearness to `points`
    training pictures. `learned` has an inner layer of `hidden`, or none. Both maps read the features and the
    words, [B, 1280 + 384].
    """

    prototypes: Tensor
    prior: Tensor
    words_mean: Tensor
    temperature: Tensor
    mix: Tensor
    weights: Tensor

    def __init__(self, top: int = 50, points: int = 0, hidden: int = 0) -> None:
        super().__init__()
        self.top, self.points, self.hidden = top, points, hidden
        read = IMAGE_DIM + SEMANTIC_DIM
        self.semantic_map: Kernel | Projection = (
            Kernel(read, SEMANTIC_DIM, points) if points else Projection(read, SEMANTIC_DIM)
        )
        self.learned = Projection(read, LEARNED_DIM, hidden)
        self.visual = Projection(IMAGE_DIM, VISUAL_DIM)
        self.register_buffer("prototypes", torch.zeros(CLASSES, SEMANTIC_DIM))
        self.register_buffer("prior", torch.zeros(CLASSES))
        self.register_buffer("words_mean", torch.zeros(SEMANTIC_DIM))
        self.register_buffer("temperature", torch.tensor(1.5))
        self.register_buffer("mix", torch.tensor(0.5))
        self.register_buffer("weights", torch.ones(3))

    def words(self, logits: Tensor) -> Tensor:
        """The picture named by its classes: logits [B, 1000] -> [B, 384], unit norm."""
        best, classes = torch.topk(logits - self.prior, self.top, dim=-1)
        share = torch.softmax(best / self.temperature, dim=-1)
        # [B, 1, top] x [B, top, 384]: only the rows of the best classes are read
        named = torch.matmul(share.unsqueeze(1), self.prototypes[classes]).squeeze(1)
        return normalize(named, dim=-1)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        semantic, seen = self.semantic(features, logits)
        learned = normalize(semantic + self.learned(seen), dim=-1)
        visual = normalize(self.visual(features), dim=-1)
        blocks = [self.weights[0] * semantic, self.weights[1] * learned, self.weights[2] * visual]
        return normalize(torch.cat(blocks, dim=-1), dim=-1)

    def semantic(self, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The semantic block [B, 384], unit norm, and what the maps read [B, 1664]."""
        words = self.words(logits)
        seen = torch.cat([features, words], dim=-1)
        named = normalize(words - self.words_mean, dim=-1)
        mapped = normalize(self.semantic_map(seen), dim=-1)
        return normalize((1 - self.mix) * named + self.mix * mapped, dim=-1), seen


class AudioHead(nn.Module):
    """pooled [B, 576] (mean and deviation of 288-d frames over time) -> (embedding [B, 1024], native [B,
    512])."""

    def __init__(self, hidden: int = 1024) -> None:
        super().__init__()
        self.unified = Projection(AUDIO_DIM, SEMANTIC_DIM + LEARNED_DIM, hidden)
        self.native = Projection(AUDIO_DIM, AUDIO_NATIVE_DIM)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        shared = self.unified(pooled)
        embedding = torch.cat([shared, torch.zeros_like(shared[:, :VISUAL_DIM])], dim=-1)
        return normalize(embedding, dim=-1), normalize(self.native(pooled), dim=-1)


class VideoHead(nn.Module):
    """A clip from its frames and its sound track.

    (frame_features [B, 8, 1280], frame_logits [B, 8, 1000], sound [B, 288], has_sound [B]) ->
    (embedding [B, 1024], native [B, 2048]). `sound` is the mean of the speech encoder's frames and counts
    only where `has_sound` is 1. native = mean frame features 1280 + motion 480 + sound 288, each block unit
    norm times its weight; motion is a fixed map of the mean absolute difference of neighbouring frames.
    """

    weights: Tensor

    def __init__(self, image: ImageHead) -> None:
        super().__init__()
        self.image = image
        self.appearance_mean = nn.Buffer(torch.zeros(IMAGE_DIM))
        self.motion = Projection(IMAGE_DIM, MOTION_DIM)
        self.sound_mean = nn.Buffer(torch.zeros(SOUND_DIM))
        self.register_buffer("weights", torch.tensor([1.0, 0.5, 0.5]))

    def forward(
        self, frame_features: Tensor, frame_logits: Tensor, sound: Tensor, has_sound: Tensor
    ) -> tuple[Tensor, Tensor]:
        frames = self.image(frame_features.flatten(0, 1), frame_logits.flatten(0, 1))
        # 8 frames a clip is the contract of decode_video
        embedding = normalize(frames.reshape(-1, 8, EMBEDDING_DIM).mean(dim=1), dim=-1)
        appearance = normalize(frame_features.mean(dim=1) - self.appearance_mean, dim=-1)
        change = (frame_features[:, 1:] - frame_features[:, :-1]).abs().mean(dim=1)
        motion = normalize(self.motion(change), dim=-1)
        heard = normalize(sound - self.sound_mean, dim=-1) * has_sound.unsqueeze(-1)
        blocks = [self.weights[0] * appearance, self.weights[1] * motion, self.weights[2] * heard]
        return embedding, normalize(torch.cat(blocks, dim=-1), dim=-1)


@dataclass(frozen=True)
class Heads:
    """The trained heads of one profile, in eval mode; `video.image` is `image`."""

    text: TextHead
    image: ImageHead
    audio: AudioHead
    video: VideoHead


def load_heads(profile: str, checkpoints_dir: Path) -> Heads:
    """The heads of `checkpoints_dir/<profile>/{text,image,audio,video}.safetensors`, as FP32 modules.

    Tensors may be stored as FP16; the safetensors metadata key `config` holds the constructor's arguments as
    JSON.

    Raises:
        WeightsError: a file is missing or damaged, or a tensor is missing, unknown or of another shape.
    """
    folder = checkpoints_dir / profile
    states = {name: _read(folder / f"{name}.safetensors") for name in ("text", "image", "audio", "video")}
    try:
        image = ImageHead(**states["image"][0])
        text, audio = TextHead(**states["text"][0]), AudioHead(**states["audio"][0])
        heads = Heads(text, image, audio, VideoHead(image))
        heads.text.load_state_dict(states["text"][1])
        # a checkpoint from before the prior was fitted takes nothing off
        heads.image.load_state_dict({"prior": torch.zeros(CLASSES)} | states["image"][1])
        heads.audio.load_state_dict(states["audio"][1])
        shared = {f"image.{name}": tensor for name, tensor in heads.image.state_dict().items()}
        heads.video.load_state_dict(states["video"][1] | shared)
    except (
        RuntimeError,
        TypeError,
    ) as error:  # load_state_dict on shapes and names, constructors on arguments
        raise WeightsError(f"{folder}: the checkpoint does not fit the heads: {error}") from error
    for head in (heads.text, heads.image, heads.audio, heads.video):
        head.eval().requires_grad_(False)
    return heads


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("config", "{}"))
            return config, {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: {error}; run `make train`, or restore the file from git") from error
