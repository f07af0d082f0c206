"""What releases ask of whoever keeps the rows, when embedding versions come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchestrator.ports import Encoder

__all__ = ["Catalogue", "Filled"]


class Filled(Protocol):
    """How far an embedding version is filled (``indexing.Progress``)."""

    @property
    def total(self) -> int: ...
    @property
    def done(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def eta_s(self) -> float | None: ...
    @property
    def complete(self) -> bool: ...


class Catalogue(Protocol):
    """The rows of every embedding version, and who writes them (``indexing.EmbeddingVersions``)."""

    async def open(self, version: str) -> None:
        """Its collections are there afterwards."""
        ...

    def write(self, encoders: Mapping[str, Encoder], required: str) -> None:
        """From now on items are indexed in these versions, and cannot do without ``required``."""
        ...

    async def settled(self) -> None:
        """Returns when no change of an item goes by what was written to before."""
        ...

    async def drop(self, version: str) -> None:
        """Removes its collections."""
        ...

    async def drop_all_but(self, *versions: str) -> None:
        """Removes what versions that are not served any more have left behind."""
        ...

    async def point(self, version: str) -> None:
        """Lets the aliases stand for its collections."""
        ...

    def progress(self) -> Mapping[str, Filled]:
        """By version."""
        ...
