"""Pairs of picture and name from emoji sets of the npm registry: drawn things with the names CLDR gives them.

Two sets draw the same names in different hands. Only things are taken: no faces, symbols, flags, skin tones.
The packages hold SVG bodies by name (Iconify JSON); `npm pack` brings them, the pinned SHA-256 is checked.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import DataError, ToolError
from training.openclipart import Drawing

__all__ = ["SETS", "IconSet", "load_icons"]

FETCH_TIMEOUT_S = 900.0
_THINGS = ("Activities", "Animals & Nature", "Food & Drink", "Objects", "People & Body", "Travel & Places")
_VARIANT = re.compile(
    r"skin-tone|facing-right|oclock|thirty|^(man|men|woman|women|family|couple|kiss|people)-"
)


@dataclass(frozen=True)
class IconSet:
    """One exact npm package."""

    requirement: str
    sha256: str
    licence: str


SETS = (
    IconSet(
        "@iconify-json/noto@1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0",
    ),
    IconSet(
        "@iconify-json/fluent-emoji@1.2.7",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        "MIT",
    ),
)
"""The first one's categories say which names are things."""


def load_icons(cache: Path) -> list[Drawing]:
    """The drawings of all sets, set by set, in the order of their names.

    Raises:
        ToolError: npm is missing or failed.
        DataError: a package is not the pinned one, or does not hold what it should.
    """
    names: list[str] = []
    drawings: list[Drawing] = []
    for number, icons in enumerate(SETS):
        with tarfile.open(_fetch(icons, cache)) as archive:
            if number == 0:
                names = sorted(_things(_member(archive, "package/metadata.json")))
            drawings += _drawings(icons, _member(archive, "package/icons.json"), names)
    return drawings


def _things(metadata: Mapping[str, Any]) -> Iterator[str]:
    for category in _THINGS:
        for name in metadata["categories"].get(category, ()):
            if not _VARIANT.search(name):
                yield name


def _drawings(icons: IconSet, content: Mapping[str, Any], names: list[str]) -> Iterator[Drawing]:
    for name in names:
        icon = content["icons"].get(name)
        if icon is None:
            continue
        width = icon.get("width", content.get("width", 16))
        height = icon.get("height", content.get("height", 16))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
        )
        yield Drawing(f"{icons.requirement}/{name}", svg.encode(), name.replace("-", " "), ())


def _member(archive: tarfile.TarFile, name: str) -> Mapping[str, Any]:
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise DataError(f"an icon package holds no {name}")
    content: Mapping[str, Any] = json.load(file)
    return content


def _fetch(icons: IconSet, cache: Path) -> Path:
    place = cache / icons.sha256 / "package.tgz"
    if not place.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise ToolError("npm is missing: apt-get install npm")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            command = [npm, "pack", "--silent", "--pack-destination", folder, icons.requirement]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                raise ToolError(f"{icons.requirement}: npm pack failed: {type(error).__name__}") from error
            found = sorted(Path(folder).glob("*.tgz"))
            if len(found) != 1 or _sha256(found[0]) != icons.sha256:
                raise DataError(f"{icons.requirement} is not the pinned package")
            place.parent.mkdir(exist_ok=True)
            found[0].replace(place)
    if _sha256(place) != icons.sha256:
        raise DataError(f"{place} is damaged; remove it and fetch again")
    return place


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
