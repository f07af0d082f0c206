"""What can go wrong with a catalogue.

CatalogueError
├── ManifestError            a line of a manifest is not an item; names the line
├── FolderError              a folder cannot be read as items; names the path
├── MediaFileError           a media file of an item cannot be read; names the entry
├── GenerationError          media could not be drawn, rasterised or encoded; names the item
├── LockTimeoutError         another process holds the folder for too long
└── PackageError             a Debian package could not be had
    ├── PackageUnavailableError  no apt-get, no dpkg-deb, no package lists or no network
    ├── PackageVersionError      the mirror offers another version than the pinned one
    └── ChecksumError            the bytes are not the pinned ones
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "CatalogueError",
    "ChecksumError",
    "FolderError",
    "GenerationError",
    "LockTimeoutError",
    "ManifestError",
    "MediaFileError",
    "PackageError",
    "PackageUnavailableError",
    "PackageVersionError",
]


class CatalogueError(Exception):
    """Base of every error of this room."""


class ManifestError(CatalogueError):
    """A manifest line that is not an item. `line` counts from 1; 0 means the file as a whole."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        where = f"{path.name}, line {line}" if line else path.name
        super().__init__(f"{where}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class FolderError(CatalogueError):
    """A folder, or a file in it, that cannot become an item."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class MediaFileError(CatalogueError):
    """A media file that cannot be read now. `index` is its place among the item's media."""

    def __init__(self, item_id: str, index: int, name: str, reason: str) -> None:
        super().__init__(f"{item_id}: {name} {reason}")
        self.index = index


class GenerationError(CatalogueError):
    """Media of one item could not be made."""


class LockTimeoutError(CatalogueError):
    """Another process kept a folder locked beyond the deadline."""


class PackageError(CatalogueError):
    """A Debian package could not be had."""


class PackageUnavailableError(PackageError):
    """This machine cannot fetch it: no apt-get, no package lists, or no network."""


class PackageVersionError(PackageError):
    """The mirror offers another version than the pinned one."""


class ChecksumError(PackageError):
    """What was fetched is not what is pinned."""
