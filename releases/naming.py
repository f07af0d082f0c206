"""Names: of releases, and of their models in Triton, which stand beside those of other releases."""

from __future__ import annotations

import re
from pathlib import Path

from releases.errors import ReleaseError

__all__ = ["MODELS", "OWN_MODELS", "SEPARATOR", "check_name", "model_name", "releases_dir"]

SEPARATOR = "__"
OWN_MODELS = (
    *(
        f"{step}_{modality}"
        for step in ("embed", "encode")
        for modality in ("text", "image", "audio", "video")
    ),
    "rerank",
    "attend",
)
"""Models that each staged release has for itself. The others, decoders and transcription, are shared."""

MODELS = "models"
"""Where the models of staged releases are, among the releases: no name for one."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def check_name(name: str) -> str:
    """``name`` itself. Raises ReleaseError when no release can be called so."""
    if not _NAME.fullmatch(name):
        raise ReleaseError(f"{name!r} is no name for a release: 1 to 32 of a-z, 0-9 and -, no - in front")
    if name == MODELS:
        raise ReleaseError(f"{name!r} is no name for a release: the models of all of them are there")
    return name


def model_name(model: str, release: str | None) -> str:
    """What Triton calls a model of a release; without a release, and for shared models, what it is called."""
    return f"{model}{SEPARATOR}{release}" if release is not None and model in OWN_MODELS else model


def releases_dir(home: Path) -> Path:
    """Where releases and their state are."""
    return home / "releases"
