"""Pairs of picture and name from Debian's openclipart-svg: 8,121 drawings in the public domain.

Names are uneven, and most of it cannot teach what a thing is called: 2,153 theme icons and 1,645 stars and
arrows bear their collection's name, 1,111 are flags and signs, 246 playing cards. The heads take drawings
with a short title of their own, from folders that hold things one can point at (`load_drawings`). Fine-tuning
takes more (`load_things`): without a title the file's name stands in ("contour giraffe"). Titles are in many
languages, so the folders' English ("animals/mammals/horses") stands beside the keywords.
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

__all__ = ["PACKAGE", "Drawing", "load_drawings", "load_things"]

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

_NO_THINGS = {"aiga-symbols", "cards", "computer", "roadsigns", "shapes", "signs_and_symbols", "special"}
_NO_KEYWORDS = {"clip art", "clipart", "externalsource", "hash", "media", "unsorted"}
_LEFT_OUT = ("computer", "shapes", "signs_and_symbols", "special", "unsorted")
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
    folder = _folder(cache)
    drawings = [drawing for path in sorted(folder.rglob("*.svg*")) if (drawing := _read(path, folder))]
    if not drawings:
        raise DataError(f"{PACKAGE.name} holds no drawings below {FOLDER}")
    shared = Counter(normalise(drawing.title) for drawing in drawings)
    return [drawing for drawing in drawings if shared[normalise(drawing.title)] <= MAX_SHARED]


def load_things(cache: Path) -> list[Drawing]:
    """Drawings of things by title or file name, with folders among the keywords, in the order of their paths.

    Raises:
        PackageError: the package cannot be had here.
    """
    folder = _folder(cache)
    found: list[Drawing] = []
    for path in sorted(folder.rglob("*.svg*")):
        inside = path.relative_to(folder)
        if _NO_THINGS.isdisjoint(inside.parts) and (drawing := _parse(path, folder)):
            words = (*drawing.keywords, *map(_spaced, inside.parts[:-1]))
            kept = tuple(dict.fromkeys(word for word in words if word and word not in _NO_KEYWORDS))
            found.append(replace(drawing, keywords=kept))
    titles = Counter(normalise(drawing.title) for drawing in found)
    named = [
        drawing
        if _is_name(drawing.title) and titles[normalise(drawing.title)] <= MAX_SHARED
        else replace(drawing, title=_spaced(Path(drawing.key).name.partition(".")[0]))
        for drawing in found
    ]
    names = Counter(normalise(drawing.title) for drawing in named)
    return [
        drawing
        for drawing in named
        if _is_name(drawing.title) and names[normalise(drawing.title)] <= MAX_SHARED
    ]


def _folder(cache: Path) -> Path:
    fetch(PACKAGE, cache)
    return unpack(PACKAGE, cache) / FOLDER


def _read(path: Path, folder: Path) -> Drawing | None:
    if path.relative_to(folder).parts[0] in _LEFT_OUT:
        return None
    drawing = _parse(path, folder)
    return drawing if drawing and _is_name(drawing.title) else None


def _parse(path: Path, folder: Path) -> Drawing | None:
    """A file with its title as it stands, "" where it has none; None where it is too large or damaged."""
    if path.stat().st_size > MAX_BYTES:
        return None
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return None
    text = data.decode("utf-8", errors="replace")
    title = _clean(match.group(1)) if (match := _TITLE.search(text)) else ""
    subject = match.group(1) if (match := _SUBJECT.search(text)) else ""
    keywords = tuple(word for found in _KEYWORD.findall(subject) if (word := _clean(found)))
    return Drawing(path.relative_to(folder).as_posix(), data, title, keywords)


def _is_name(title: str) -> bool:
    return 2 < len(normalise(title)) < 40 and not _NO_NAME.search(title)


def _spaced(name: str) -> str:
    return _clean(name.replace("-", " "))


def _clean(text: str) -> str:
    return " ".join(_NUMBER.sub(" ", html.unescape(text).replace("_", " ")).split())
