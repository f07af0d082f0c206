"""Pairs of picture and name from Debian's openclipart-svg: 8,121 drawings in the public domain.

Most of it cannot teach what a thing is called: 2,153 theme icons and 1,645 stars and arrows that bear their
collection's name, 1,111 flags and signs, 246 playing cards. Drawings of things one can point at are taken, by
their title where it is their own, else by the name of their file ("contour giraffe"). Titles are in many
languages; keywords and folders ("animals/mammals/horses") are English, so they stand beside them.
"""

from __future__ import annotations

import gzip
import html
import re
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from catalogue.debian import DebianPackage, fetch, unpack
from catalogue.split import normalise
from training.errors import DataError

__all__ = ["PACKAGE", "Drawing", "load_drawings"]

PACKAGE = DebianPackage(
    name="openclipart-svg",
    version="1:0.18+dfsg-19",
    sha256="989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    size_bytes=24_919_068,
)
FOLDER = Path("usr/share/openclipart/svg")
MAX_BYTES = 600_000
MAX_SHARED = 4
"""Drawings of one name: more of them is a series, not a name."""

_NO_KEYWORD = ("hash", "clip art", "clipart", "media", "externalsource", "unsorted")
_LEFT_OUT = {"aiga-symbols", "cards", "computer", "roadsigns", "shapes", "signs_and_symbols", "special"}
_NO_NAME = re.compile(
    r"collection|theme|icons|cliparts?|anonymous|flag|symbol|pattern|openclip|part of", re.IGNORECASE
)
_TITLE = re.compile(r"<dc:title>(.*?)</dc:title>", re.DOTALL)
_SUBJECT = re.compile(r"<dc:subject>(.*?)</dc:subject>", re.DOTALL)
_KEYWORD = re.compile(r"<rdf:li>(.*?)</rdf:li>", re.DOTALL)
_NUMBER = re.compile(r"\b(?:\d+|icon|the)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Drawing:
    """One drawing: `key` is its path in the package, `svg` its bytes, unpacked."""

    key: str
    svg: bytes
    title: str
    keywords: tuple[str, ...]


def load_drawings(cache: Path) -> list[Drawing]:
    """The drawings that have a name of their own, in the order of their paths.

    Raises:
        PackageError: the package cannot be had here.
        DataError: it holds no drawings.
    """
    fetch(PACKAGE, cache)
    folder = unpack(PACKAGE, cache) / FOLDER
    drawings = [drawing for path in sorted(folder.rglob("*.svg*")) if (drawing := _read(path, folder))]
    if not drawings:
        raise DataError(f"{PACKAGE.name} holds no drawings below {FOLDER}")
    shared = Counter(normalise(drawing.title) for drawing in drawings)
    named = [
        drawing
        if shared[normalise(drawing.title)] <= MAX_SHARED
        else replace(drawing, title=_clean(Path(drawing.key).name.partition(".")[0]))
        for drawing in drawings
    ]
    shared = Counter(normalise(drawing.title) for drawing in named)
    return [
        drawing
        for drawing in named
        if _is_name(drawing.title) and shared[normalise(drawing.title)] <= MAX_SHARED
    ]


def _read(path: Path, folder: Path) -> Drawing | None:
    inside = path.relative_to(folder)
    if not _LEFT_OUT.isdisjoint(inside.parts) or path.stat().st_size > MAX_BYTES:
        return None
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return None
    text = data.decode("utf-8", errors="replace")
    title = _clean(match.group(1)) if (match := _TITLE.search(text)) else ""
    if not _is_name(title):
        title = _clean(path.name.partition(".")[0])
    if not _is_name(title):
        return None
    subject = match.group(1) if (match := _SUBJECT.search(text)) else ""
    words = [*(_clean(found) for found in _KEYWORD.findall(subject)), *map(_clean, inside.parts[:-1])]
    keywords = tuple(dict.fromkeys(word for word in words if word and word not in _NO_KEYWORD))
    return Drawing(inside.as_posix(), data, title, keywords)


def _is_name(title: str) -> bool:
    return 2 < len(normalise(title)) < 40 and not _NO_NAME.search(title)


def _clean(text: str) -> str:
    return " ".join(_NUMBER.sub(" ", html.unescape(text).replace("_", " ").replace("-", " ")).split())
