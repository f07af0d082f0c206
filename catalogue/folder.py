"""A plain folder of media as a catalogue.

Files of one folder that share their stem are one item: frog.png, frog.ogg and frog.txt belong together, and
the .txt is its text. The first sub-folder is the category, all sub-folders are tags. What a file is, is found
from its content when it is indexed; here only `.txt` has a meaning.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from catalogue.errors import FolderError
from catalogue.manifest import ManifestItem, read_manifest

__all__ = ["MAX_TEXT_BYTES", "identifier", "read_catalogue", "read_folder"]

MAX_TEXT_BYTES = 1 << 16
MANIFEST_NAME = "manifest.jsonl"
_REFUSED = re.compile(r"[^A-Za-z0-9._:-]+")


def read_catalogue(path: Path) -> Iterator[ManifestItem]:
    """Items of a manifest, of a folder that holds `manifest.jsonl`, or of a plain folder of media."""
    if not path.is_dir():
        return read_manifest(path)
    manifest = path / MANIFEST_NAME
    return read_manifest(manifest) if manifest.is_file() else read_folder(path)


def read_folder(path: Path) -> Iterator[ManifestItem]:
    """One item per stem, folder by folder in the order of names.

    Hidden files and folders are passed over; folders that are links are not entered. Raises FolderError on a
    link that leaves the folder, on a text that is too long or not UTF-8, and when there is nothing to read.
    """
    root = path.resolve()
    if not root.is_dir():
        raise FolderError(path, "not a folder")
    empty = True
    for name, folders, files in os.walk(root, onerror=_refuse):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        here = Path(name)
        stems: dict[str, list[Path]] = {}
        for file in sorted(file for file in files if not file.startswith(".")):
            stems.setdefault(Path(file).stem, []).append(here / file)
        for stem, members in stems.items():
            empty = False
            yield _item(root, here.relative_to(root), stem, members)
    if empty:
        raise FolderError(path, "holds no files")


def identifier(relative: Path) -> str:
    """An id from a path without its suffix: animals/birds/cockatiel is animals.birds.cockatiel.

    Where characters had to be replaced or the id is too long, a hash of the path keeps it unique.
    """
    plain = ".".join(relative.parts)
    kept = _REFUSED.sub("-", plain)
    if kept == plain and len(kept) <= 128:
        return kept
    digest = hashlib.sha256(str(relative).encode(errors="surrogateescape")).hexdigest()[:10]
    return f"{kept[:110]}-{digest}"


def _item(root: Path, relative: Path, stem: str, members: list[Path]) -> ManifestItem:
    description = ""
    media: list[dict[str, str]] = []
    for member in members:
        # Links are judged here by where they lead, like in a manifest.
        if not member.resolve().is_relative_to(root):
            raise FolderError(member, "is a link that leaves the folder")
        if member.suffix.lower() == ".txt":
            description = _text(member)
        else:
            media.append({"path": str(member.relative_to(root))})
    fields = {
        "id": identifier(relative / stem),
        "title": re.sub(r"[_\W]+", " ", stem).strip(),
        "description": description,
        "category": relative.parts[0] if relative.parts else "",
        "tags": relative.parts,
        "media": media,
    }
    try:
        return ManifestItem.model_validate(fields, context={"folder": root})
    except ValueError as error:
        raise FolderError(root / relative / stem, "cannot become an item") from error


def _text(path: Path) -> str:
    with path.open("rb") as handle:
        content = handle.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise FolderError(path, f"longer than {MAX_TEXT_BYTES} bytes")
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise FolderError(path, "not UTF-8") from error


def _refuse(error: OSError) -> None:
    raise FolderError(Path(error.filename or "."), f"cannot be read ({error.strerror})") from error
