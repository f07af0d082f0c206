"""The served graphs of a profile whose encoders are architectures: encoder, adapter, normalisation.

| graph | encoder takes | encoder gives | graph gives |
|---|---|---|---|
| encode_text | input_ids, attention_mask INT64 [B, L] | FP32 [B, width] | embedding |
| encode_image | pixels UINT8 [B, side, side, 3] | FP32 [B, width] | embedding |
| encode_audio | samples FP32, mask INT64 [B, N] | FP32 [B, 512] | embedding, native |
| encode_video | frames UINT8 [B, frames, side, side, 3], samples, mask | FP32 [B, 2048] | embedding, native |

``embedding`` FP32 [B, 1024] is the adapter's, ``native`` what the encoder gives; both are unit norm. A speech
encoder may give ``logits`` FP32 [B, T, V] too. A trained adapter is ``adapter_<graph>.safetensors`` of the
profile's checkpoints: weight [1024, width], bias [1024] and, by the encoder's names, the part of it that is
trained with the adapter.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import normalize, pad

from export.adapters import AUDIO_NATIVE_DIM, EMBEDDING_DIM, VIDEO_NATIVE_DIM, Heads
from export.errors import ProfileError, WeightsError
from export.graphs import GRAPHS, SOUND_AXES, Graph, pictures, sound_example, text_example
from export.hub import hub_files
from export.profile import Encoder, Profile
from export.settings import Settings

__all__ = ["adapter_file", "frozen_encoder", "graphs_of"]

_HOME = "export.architectures"
_NATIVE = {"encode_audio": AUDIO_NATIVE_DIM, "encode_video": VIDEO_NATIVE_DIM}


class Architecture(Protocol):
    """What a module of ``export.architectures`` offers.

    An encoder says the ``width`` of what it gives and, where no publisher has its last part, the name of
    that part as ``learned``: ``state`` leaves it out, it is trained with the adapter.
    """

    def build(self, config: Mapping[str, Any]) -> nn.Module: ...
    def state(self, files: Mapping[str, Path], config: Mapping[str, Any]) -> dict[str, torch.Tensor]: ...


class Encoded(nn.Module):
    """An encoder and the way from what it gives into the unified space."""

    def __init__(self, encoder: nn.Module, adapter: nn.Linear | None, native: bool, own: bool) -> None:
        super().__init__()
        self.encoder, self.adapter, self._native, self._own = encoder, adapter, native, own

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Tensors as the module's docstring says."""
        given = self.encoder(*inputs)
        given, *more = given if isinstance(given, tuple) else (given,)
        if self._own:
            embedding = normalize(cast(Any, self.encoder).unify(given), dim=-1)
        elif self.adapter is None:
            embedding = normalize(pad(given, (0, EMBEDDING_DIM - given.shape[-1])), dim=-1)
        else:
            embedding = normalize(self.adapter(given), dim=-1)
        return (embedding, normalize(given, dim=-1), *more) if self._native else embedding


def graphs_of(profile: Profile) -> dict[str, Graph]:
    """Graphs of a profile by name.

    Raises:
        ProfileError: a graph has no known name, or an encoder names no known architecture.
    """
    graphs = {}
    for name, model in profile.models.items():
        if name not in GRAPHS:
            raise ProfileError(f"{profile.name}: no graph is called {name}; there is {', '.join(GRAPHS)}")
        graphs[name] = GRAPHS[name] if model.encoder is None else _graph(profile, name, model.encoder)
    return graphs


def adapter_file(profile: Profile, model: str, settings: Settings) -> Path:
    """Where a trained adapter is."""
    return settings.checkpoints / profile.name / f"adapter_{model}.safetensors"


def _graph(profile: Profile, name: str, encoder: Encoder) -> Graph:
    architecture = _architecture(profile, encoder)
    side, frames = profile.inputs.side_px, profile.inputs.frames
    tensors: dict[str, tuple[dict[str, tuple[str | int, ...]], Callable[[], tuple[torch.Tensor, ...]]]] = {
        "encode_text": (GRAPHS["encode_text"].inputs, text_example),
        "encode_image": (
            {"pixels": ("batch", side, side, 3)},
            lambda: (pictures(2, side_px=side),),
        ),
        "encode_audio": (SOUND_AXES, sound_example),
        "encode_video": (
            {"frames": ("batch", frames, side, side, 3), **SOUND_AXES},
            lambda: (pictures(2, frames, side_px=side), *sound_example()),
        ),
    }
    inputs, example = tensors[name]
    outputs = {"embedding": EMBEDDING_DIM} | ({"native": _NATIVE[name]} if name in _NATIVE else {})
    if encoder.logits:
        outputs["logits"] = encoder.logits

    def build(profile: Profile, settings: Settings, _: Callable[[], Heads]) -> nn.Module:
        return _built(profile, name, encoder, architecture, settings)

    sources = tuple(dict.fromkeys(reference.partition("/")[0] for reference in encoder.weights.values()))
    modules = ("encoded", "encoders", "fetch", "graphs", "hub", *_code_of(f"{_HOME}.{encoder.architecture}"))
    timed = ("logits",) if encoder.logits else ()
    return Graph(name, inputs, outputs, sources, build, example, (), timed, modules)


def _architecture(profile: Profile, encoder: Encoder) -> Architecture:
    module = f"{_HOME}.{encoder.architecture}"
    try:
        return cast(Architecture, importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ProfileError(f"{profile.name}: there is no {module}") from error


def frozen_encoder(profile: Profile, name: str, settings: Settings) -> nn.Module:
    """A graph's encoder with its published weights; what is trained with the adapter is freshly initialised.

    Raises:
        ProfileError, FetchError, WeightsError
    """
    encoder = profile.models[name].encoder
    assert encoder is not None
    architecture = _architecture(profile, encoder)
    module = _fresh(profile, name, encoder, architecture)
    state = _published(profile, encoder, architecture, settings)
    if part := getattr(module, "learned", ""):
        state |= {f"{part}.{key}": value for key, value in module.get_submodule(part).state_dict().items()}
    _load(module, state, f"{profile.name}: {name}")
    return module


def _code_of(module: str) -> list[str]:
    """A module of this room and, sorted, those beside it that it uses: a change of one is another encoder."""
    found, left = set[str](), [module]
    while left:
        name = left.pop()
        found.add(name)
        for value in vars(importlib.import_module(name)).values():
            origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            if isinstance(origin, str) and origin.startswith(f"{_HOME}.") and origin not in found:
                left.append(origin)
    return sorted(name.removeprefix("export.").replace(".", "/") for name in found)


def _built(
    profile: Profile, name: str, encoder: Encoder, architecture: Architecture, settings: Settings
) -> nn.Module:
    """Encoder and adapter with their weights."""
    module = _fresh(profile, name, encoder, architecture)
    width = cast(int, module.width)
    if encoder.adapter == "pad" and width > EMBEDDING_DIM:
        raise ProfileError(
            f"{profile.name}: {name} gives {width} dimensions, which no zeros can be put behind"
        )
    if name in _NATIVE and width != _NATIVE[name]:
        raise ProfileError(f"{profile.name}: {name} must give {_NATIVE[name]} dimensions, not {width}")
    adapter = nn.Linear(width, EMBEDDING_DIM) if encoder.adapter == "linear" else None
    if not profile.origin.is_random:
        state = _published(profile, encoder, architecture, settings)
        if adapter is not None:
            trained = _trained(adapter_file(profile, name, settings))
            own = {key: value for key, value in trained.items() if key in adapter.state_dict()}
            _load(adapter, own, f"{profile.name}: adapter of {name}")
            state |= {key: value for key, value in trained.items() if key not in own}
        _load(module, state, f"{profile.name}: {name}")
    return Encoded(module, adapter, name in _NATIVE, encoder.adapter == "own")


def _fresh(profile: Profile, name: str, encoder: Encoder, architecture: Architecture) -> nn.Module:
    """An encoder freshly initialised; the generator's state depends on seed and graph alone."""
    digest = hashlib.sha256(f"{profile.origin.seed} {name}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    try:
        return architecture.build(encoder.config)
    except (TypeError, ValueError) as error:  # what transformers raises for arguments it does not know
        raise ProfileError(f"{profile.name}: {encoder.architecture}: {error}") from error


def _published(
    profile: Profile, encoder: Encoder, architecture: Architecture, settings: Settings
) -> dict[str, torch.Tensor]:
    files = {
        key: hub_files(profile, source, settings)[part]
        for key, (source, _, part) in (
            (key, reference.partition("/")) for key, reference in encoder.weights.items()
        )
    }
    return architecture.state(files, encoder.config)


def _trained(path: Path) -> dict[str, torch.Tensor]:
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: {error}; an adapter into the unified space has to be trained "
            "(python -m training adapters), or use --random-init"
        ) from error


def _load(module: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{name}: {error}") from error
