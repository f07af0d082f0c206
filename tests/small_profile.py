"""Profile `reference` with encoders of the same architectures that take seconds, and random weights."""

from __future__ import annotations

from typing import Any

from export.profile import Origin, Profile, load_profile

CLIP: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 64,
    "patch_size": 16,
    "hidden_act": "quick_gelu",
    "projection_dim": 0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "encode_text": {
        "vocab_size": 30522,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
    },
    "encode_image": CLIP,
    "encode_audio": {
        "width": 512,
        "pooling": 16,
        "vocab_size": 32,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
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
        "clip": {**CLIP, "projection_dim": 16},
    },
}


def small_profile(seed: int = 0, models: tuple[str, ...] = tuple(CONFIGS)) -> Profile:
    """Pictures of 64 pixels, clips of 8."""
    content = load_profile("reference", Origin(kind="random", seed=seed)).model_dump()
    content["inputs"] = {"side_px": 64, "frames": 8}
    content["gate"] |= {"seconds": 0.01}
    content["models"] = {name: content["models"][name] for name in models}
    for name, model in content["models"].items():
        model["encoder"]["config"] = CONFIGS[name]
        model["measured"] = 16
        model["int8"]["integers_min"] = 0.01  # most of their weights are adapters, which stay FP32
    return Profile.model_validate(content)
