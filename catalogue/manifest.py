"""JSONL manifests: one item a line, validated, read one at a time.

A path in a manifest is relative and stays in the manifest's folder, also after symbolic links are followed: a
manifest from elsewhere must not be able to index (and then serve) other files of this machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from catalogue.errors import ManifestError
from catalogue.split import Split

__all__ = ["ID_PATTERN", "MAX_LINE_BYTES", "ManifestItem", "MediaEntry", "QueryEntry", "read_manifest"]

ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"
MAX_LINE_BYTES = 1 << 20


class _Frozen(BaseModel):
    # A misspelt field would otherwise be dropped in silence.
    model_config = ConfigDict(frozen=True, extra="forbid")


class _File(_Frozen):
    """A file of the catalogue. `path` is relative in the manifest and absolute, resolved, once it is read."""

    @field_validator("path", mode="after", check_fields=False)
    @classmethod
    def _stays_inside(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        folder: Path = (info.context or {}).get("folder", Path.cwd()).resolve()
        if path.is_absolute():
            raise ValueError(f"{path} is absolute; paths are relative to the manifest's folder")
        try:
            found = (folder / path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:  # missing, a loop of links, a NUL in the name
            raise ValueError(f"{path} cannot be found ({type(error).__name__})") from error
        if not found.is_relative_to(folder):
            raise ValueError(f"{path} leaves the manifest's folder")
        if not found.is_file():
            raise ValueError(f"{path} is not a file")
        return found


class MediaEntry(_File):
    """One piece of media: a file, or a text written into the manifest itself."""

    path: Path | None = None
    text: str | None = Field(default=None, min_length=1)
    role: str | None = None

    @model_validator(mode="after")
    def _one_of(self) -> MediaEntry:
        if (self.path is None) == (self.text is None):
            raise ValueError("either path or text is needed, and not both")
        return self


class QueryEntry(_File):
    """A recorded query for this item: for evaluation only, never indexed."""

    path: Path
    language: str
    role: str | None = None


class ManifestItem(_Frozen):
    """One item of a catalogue. From `split` on, fields are for training and evaluation, not indexed."""

    id: str = Field(pattern=ID_PATTERN)
    title: str = ""
    description: str = ""
    category: str = ""
    tags: tuple[str, ...] = ()
    price: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    available: bool | None = None
    media: tuple[MediaEntry, ...] = ()
    split: Split | None = None
    queries: tuple[QueryEntry, ...] = ()
    attributes: dict[str, str | float | int | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_content(self) -> ManifestItem:
        if not (self.title.strip() or self.description.strip() or self.media):
            raise ValueError("an item needs a title, a description or media")
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(entry.text for entry in self.media if entry.text is not None)

    def paths(self, role: str | None = None) -> tuple[Path, ...]:
        """Media files, all or those of one role; role "" gives the files that name none."""
        return tuple(
            entry.path
            for entry in self.media
            if entry.path is not None and (role is None or (entry.role or "") == role)
        )


def read_manifest(path: Path) -> Iterator[ManifestItem]:
    """The items of a JSONL manifest, in order; blank lines are passed over.

    Raises ManifestError, naming the line, on anything else than an item, on a line longer than
    MAX_LINE_BYTES, on an id that came before, and on a path that is missing or leaves the folder. Errors come
    when the reading gets there: items before the bad line have been handed out.
    """
    context = {"folder": path.parent.resolve()}
    seen: set[bytes] = set()
    try:
        handle = path.open("rb")
    except OSError as error:
        raise ManifestError(path, 0, f"cannot be read ({error.strerror})") from error
    with handle:
        number = 0
        while line := handle.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ManifestError(path, number, f"longer than {MAX_LINE_BYTES} bytes")
            if not line.strip():
                continue
            item = _item(path, number, line, context)
            digest = hashlib.blake2b(item.id.encode(), digest_size=16).digest()
            if digest in seen:
                raise ManifestError(path, number, f"the id {item.id} came before")
            seen.add(digest)
            yield item


def _item(path: Path, number: int, line: bytes, context: dict[str, Any]) -> ManifestItem:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
        raise ManifestError(path, number, f"not JSON in UTF-8 ({error})") from error
    try:
        return ManifestItem.model_validate(fields, context=context)
    except ValidationError as error:
        raise ManifestError(path, number, _explain(error)) from error


def _explain(error: ValidationError) -> str:
    """The first few faults as `field: what`, without the values: they may be anyone's content."""
    faults = error.errors(include_url=False, include_input=False)
    told = [f"{'.'.join(map(str, fault['loc'])) or 'item'}: {fault['msg']}" for fault in faults[:3]]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return "; ".join(told) + more
