"""Profiles with encoders of the same architectures that take seconds, and random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import published_slowfast
import torch
from safetensors.torch import save_model
from transformers import (
    BertConfig,
    BertForPreTraining,
    CLIPConfig,
    CLIPModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
)

from export.profile import Origin, Profile, load_profile
from export.samples import Sample

TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_PICTURES: dict[str, Any] = {**TOWER, "image_size": 64, "patch_size": 16}
_CLIP: dict[str, Any] = {**_PICTURES, "hidden_act": "quick_gelu", "projection_dim": 0}
REFERENCE: dict[str, dict[str, Any]] = {
    "encode_text": {**TOWER, "vocab_size": 30522, "max_position_embeddings": 512},
    "encode_image": _CLIP,
    "encode_audio": {
        **TOWER,
        "width": 512,
        "pooling": 16,
        "vocab_size": 32,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
        "conv_dim": [16] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    },
    "encode_video": {
        "width": 2048,
        "stills": 2,
        "depths": [1, 1, 1, 1],
        "channels": 16,
        "clip": {**_CLIP, "projection_dim": 16},
    },
}
_TEXT: dict[str, Any] = {
    **TOWER,
    "tower": "text",
    "vocab_size": 30522,
    "max_position_embeddings": 64,
    "projection_size": 768,
}
CLAP: dict[str, Any] = {
    "patch_embeds_hidden_size": 16,
    "hidden_size": 128,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 4],
    "enable_fusion": False,
    "projection_dim": 512,
}
"""Of both of CLAP's towers; what it is carried into stands beside it."""
_SOUND: dict[str, Any] = {
    **CLAP,
    "top": 3,
    "text_width": 768,
    "siglip": _TEXT,
    "text": {**TOWER, "vocab_size": 100},
}
_VISION: dict[str, Any] = {**_PICTURES, "tower": "vision", "hidden_size": 768, "intermediate_size": 32}
OPEN: dict[str, dict[str, Any]] = {
    "encode_text": _TEXT,
    "encode_image": {**_VISION, "num_hidden_layers": 1},
    "encode_audio": _SOUND,
    "encode_video": {"vision": {**_VISION, "num_hidden_layers": 1}, "sound": _SOUND},
}
CONFIGS = {"reference": REFERENCE, "open": OPEN}


def small_profile(seed: int = 0, name: str = "reference") -> Profile:
    """Pictures of 64 pixels, clips of 8."""
    content = load_profile(name, Origin(kind="random", seed=seed)).model_dump()
    content["inputs"] = {"side_px": 64, "frames": 8}
    content["gate"] |= {"seconds": 0.01}
    for size, recipe in (("reranker", "rerank"), ("attention", "attend")):
        if content[size]:
            content[size] = {"layers": 1, "width": 32, "heads": 2, "hidden": 32}
        content[recipe]["integers_min"] = 0.001
    for graph, model in content["models"].items():
        model["encoder"]["config"] = CONFIGS[name][graph]
        model["measured"], model["batches"] = 16, (1, 2)
        model["int8"]["integers_min"] = 0.001  # most of their weights are adapters, which stay FP32
    return Profile.model_validate(content)


def small_published(folder: Path) -> Profile:
    """Small `reference`; random weights below `folder`, in the published files, names and formats."""
    content = small_profile().model_dump()
    content["origin"] = {"kind": "folder", "folder": folder}
    for source in content["hub"].values():
        for file in source["files"].values():
            file["sha256"] = None
    profile = Profile.model_validate(content)
    paths = {
        name: folder / name / next(iter(source.files.values())).path for name, source in profile.hub.items()
    }
    for path in paths.values():
        path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    save_model(BertForPreTraining(BertConfig(**REFERENCE["encode_text"])), str(paths["bert"]))
    sound = {
        key: value for key, value in REFERENCE["encode_audio"].items() if key not in ("width", "pooling")
    }
    torch.save(Wav2Vec2ForCTC(Wav2Vec2Config(**sound)).state_dict(), paths["wav2vec2"])
    clip = CLIPModel(
        CLIPConfig(
            vision_config=_CLIP,
            text_config={**TOWER, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1},
            projection_dim=16,
        )
    )
    save_model(clip, str(paths["clip"]))
    video = REFERENCE["encode_video"]
    motion = published_slowfast.random_state(video["depths"], video["channels"])
    torch.save({"model_state": motion}, paths["slowfast"])
    return profile


def small_inputs(model: str) -> list[Sample]:
    """Two inputs of different lengths, padded at the end: noise, and tokens that count up."""
    random = np.random.default_rng(0)
    samples = []
    for length in (8000, 16000):
        mask = np.ones((1, length), np.int64)
        mask[:, length * 3 // 4 :] = 0
        sound = {"samples": (random.normal(0, 0.1, (1, length)) * mask).astype(np.float32), "mask": mask}
        pixels = random.integers(0, 256, (1, 8, 64, 64, 3), np.uint8)
        masked = (np.arange(length // 500) < 11).astype(np.int64)[None]
        feeds: dict[str, Any] = {
            "encode_text": {
                "input_ids": (np.arange(length // 500) % 900 + 5) * masked,
                "attention_mask": masked,
            },
            "encode_image": {"pixels": pixels[:, 0]},
            "encode_audio": sound,
            "encode_video": {"frames": pixels, **sound},
        }
        samples.append(Sample("", "", feeds[model]))
    return samples
