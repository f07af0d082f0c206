"""The words of this room."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from catalogue.manifest import ManifestItem

__all__ = ["HasHome", "MadeQuery", "chance"]


class HasHome(Protocol):
    """Settings of any room: queries are cached below `home`/cache."""

    @property
    def home(self) -> Path: ...


@dataclass(frozen=True)
class MadeQuery:
    """A query that `item` answers. Parts are asked together: text as it stands, a path by the file's bytes.

    `name` is `<item id>/<way>`, where the way says how it was made ("synonym", "photograph", ...).
    """

    name: str
    item: ManifestItem
    kind: str
    parts: tuple[str | Path, ...]

    @property
    def way(self) -> str:
        return self.name.rpartition("/")[2]


def chance(*of: str | int) -> np.random.Generator:
    """Chance that follows from these words alone: the same on every machine, whatever was drawn before."""
    digest = hashlib.sha256("\x1f".join(map(str, of)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))
