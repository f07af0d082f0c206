"""Names: of releases, and of their models in Triton, which stand beside those of other releases."""

from __future__ import annotations

import re
from pathlib import Path

from releases.errors import ReleaseError

__all__ = [
    "MODELS",
    "OWN_MODELS",
    "SEPARATOR",
    "TRANSCRIBE",
    "check_name",
    "model_name",
    "releases_dir",
    "transcribes",
]

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
"""Models that each staged release has for itself. The others, decoders and transcription, are shared as long
as they are the repository's."""

TRANSCRIBE = "transcribe_audio"

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


def model_name(model: str, release: str | None, transcribing: bool = False) -> str:
    """What Triton calls a model of a release; without a release, and for shared models, what it is called.

    ``transcribing``: the release has a transcription of its own, see ``transcribes``.
    """
    own = model in OWN_MODELS or (transcribing and model == TRANSCRIBE)
    return f"{model}{SEPARATOR}{release}" if release is not None and own else model


def transcribes(home: Path, release: str) -> bool:
    """Whether a staged release has a transcription of its own: one that is not the repository's."""
    return (releases_dir(home) / MODELS / f"{TRANSCRIBE}{SEPARATOR}{release}").is_dir()


def releases_dir(home: Path) -> Path:
    """Where releases and their state are."""
    return home / "releases"
