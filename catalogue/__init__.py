"""Where catalogues come from: the stamps package, the generated catalogue, JSONL manifests, folders of media.

`python -m catalogue stamps` and `python -m catalogue generate` write a folder with `manifest.jsonl` and its
media; `read_catalogue` reads such a manifest, or a plain folder, item by item; `to_proto` turns an item into
the message that `Upsert` takes. Nothing here holds more than one item's media in memory.
"""

from catalogue.errors import (
    CatalogueError,
    ChecksumError,
    FolderError,
    GenerationError,
    ManifestError,
    MediaFileError,
    PackageError,
    PackageUnavailableError,
    PackageVersionError,
)
from catalogue.folder import is_plain_folder, read_catalogue, read_folder
from catalogue.manifest import ManifestItem, MediaEntry, QueryEntry, read_manifest
from catalogue.split import Split, normalise, split_of
from catalogue.wire import to_proto

__all__ = [
    "CatalogueError",
    "ChecksumError",
    "FolderError",
    "GenerationError",
    "ManifestError",
    "ManifestItem",
    "MediaEntry",
    "MediaFileError",
    "PackageError",
    "PackageUnavailableError",
    "PackageVersionError",
    "QueryEntry",
    "Split",
    "is_plain_folder",
    "normalise",
    "read_catalogue",
    "read_folder",
    "read_manifest",
    "split_of",
    "to_proto",
]
