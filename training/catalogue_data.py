"""The stamps as training sees them. Human recordings are not read here: they are for evaluation only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogue.manifest import read_manifest
from catalogue.split import Split, normalise, split_of
from training.errors import DataError

__all__ = ["Stamp", "load_stamps"]

PICTURES = (".png", ".svg")


@dataclass(frozen=True)
class Stamp:
    """One item. `indexed` is the text it is found by; `meaning` its normalised description: items that share
    it answer each other's queries."""

    id: str
    indexed: str
    description: str
    meaning: str
    split: Split
    picture: Path
    effects: tuple[Path, ...]
    clips: tuple[Path, ...]


def load_stamps(manifest: Path) -> Sequence[Stamp]:
    """The stamps of a manifest that `python -m catalogue stamps` wrote.

    Raises:
        DataError: there is no manifest, an item has no picture, or its split is not that of its description.
    """
    if not manifest.is_file():
        raise DataError(f"{manifest} is missing: run `python -m catalogue stamps`")
    stamps: list[Stamp] = []
    for item in read_manifest(manifest):
        pictures = [path for path in item.paths("") if path.suffix in PICTURES]
        if not pictures:
            raise DataError(f"{item.id} has no picture")
        split = split_of(item.description)
        if item.split != split:
            raise DataError(f"{item.id} is marked {item.split}, its description belongs to {split}")
        stamps.append(
            Stamp(
                id=item.id,
                indexed=_indexed(item.title, item.description),
                description=item.description,
                meaning=normalise(item.description),
                split=split,
                picture=pictures[0],
                effects=item.paths("effect"),
                clips=item.paths("clip"),
            )
        )
    return stamps


def _indexed(title: str, description: str) -> str:
    """As `indexing` makes an item's text: the title above the description, unless that begins with it."""
    if description.casefold().startswith(title.casefold()):
        return description
    return f"{title}\n{description}"
