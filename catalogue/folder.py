"""A plain folder of media as a catalogue.

Files of one folder that share their stem are one item: frog.png, frog.ogg and frog.txt belong together, and
the .txt is its text. The first sub-folder is the category, all sub-folders are tags. What a file is, is found
from its content when it is indexed; here only `.txt` has a meaning.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from catalogue.errors import FolderError
from catalogue.manifest import ManifestItem, read_manifest

__all__ = ["MAX_TEXT_BYTES", "PassedOver", "identifier", "is_plain_folder", "read_catalogue", "read_folder"]

PassedOver = Callable[[FolderError], None]

MAX_TEXT_BYTES = 1 << 16
MANIFEST_NAME = "manifest.jsonl"
_REFUSED = re.compile(r"[^A-Za-z0-9._:-]+")


def is_plain_folder(path: Path) -> bool:
    """Whether `read_catalogue` takes `path` for a folder of media, not for a manifest."""
    return path.is_dir() and not (path / MANIFEST_NAME).is_file()


def read_catalogue(path: Path, passed_over: PassedOver | None = None) -> Iterator[ManifestItem]:
    """Items of a manifest, of a folder that holds `manifest.jsonl`, or of a plain folder of media.

    A manifest names what it wants: a fault in it is a ManifestError. For `passed_over` see `read_folder`.
    """
    if is_plain_folder(path):
        return read_folder(path, passed_over)
    return read_manifest(path / MANIFEST_NAME if path.is_dir() else path)


def read_folder(path: Path, passed_over: PassedOver | None = None) -> Iterator[ManifestItem]:
    """One item per stem, folder by folder in the order of names.

    Hidden files and folders are passed over; folders that are links are not entered. A folder that cannot be
    listed, a link that leaves the folder or leads nowhere, what is no regular file, and a text that is empty,
    too long or not UTF-8, are told to `passed_over`, and reading goes on without them; without `passed_over`
    they are raised. Raises FolderError in any case when there is nothing to read.
    """
    tell = passed_over or _raise
    root = path.resolve()
    if not root.is_dir():
        raise FolderError(path, "not a folder")

    def unlisted(error: OSError) -> None:
        tell(FolderError(Path(error.filename or "."), f"cannot be read ({error.strerror})"))

    empty = True
    for name, folders, files in os.walk(root, onerror=unlisted):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        here = Path(name)
        stems: dict[str, list[Path]] = {}
        for file in sorted(file for file in files if not file.startswith(".")):
            stems.setdefault(Path(file).stem, []).append(here / file)
        for stem, members in stems.items():
            empty = False
            item = _item(root, here.relative_to(root), stem, members, tell)
            if item is not None:
                yield item
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


def _item(
    root: Path, relative: Path, stem: str, members: list[Path], tell: PassedOver
) -> ManifestItem | None:
    """The item of these files, or None when not one of them can be read."""
    description = ""
    media: list[dict[str, str]] = []
    usable = False
    for member in members:
        try:
            _check_file(root, member)
            if member.suffix.lower() == ".txt":
                description = _text(member)
                if not description:
                    raise FolderError(member, "is empty")
            else:
                media.append({"path": str(member.relative_to(root))})
            usable = True
        except FolderError as error:
            tell(error)
    if not usable:
        return None
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
        tell(FolderError(root / relative / stem, f"cannot become an item ({type(error).__name__})"))
        return None


def _check_file(root: Path, path: Path) -> None:
    # Links are judged by where they lead, like in a manifest.
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # missing, or a loop of links
        raise FolderError(path, "is a link that leads nowhere") from error
    if not found.is_relative_to(root):
        raise FolderError(path, "is a link that leaves the folder")
    if not found.is_file():
        raise FolderError(path, "is not a file")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise FolderError(path, f"cannot be read ({error.strerror})") from error
    if len(content) > MAX_TEXT_BYTES:
        raise FolderError(path, f"longer than {MAX_TEXT_BYTES} bytes")
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise FolderError(path, "not UTF-8") from error


def _raise(error: FolderError) -> None:
    raise error
