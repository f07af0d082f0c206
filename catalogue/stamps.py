"""The stamps: which of the package's pictures are items, and what stands in their fields.

An item is a picture below `stamps/` that
- has a description of its own, `<stem>.txt` (mirrored pictures, `<stem>_mirror.png`, have none);
- is neither in `symbols/` (letters, digits, coins, notes, chess men, shapes) nor in `town/flags/`;
- can be read safely: where the only picture is an SVG that declares XML entities it is left out, and named in
  the summary. Where a PNG and an SVG of the same drawing stand side by side the PNG is taken.

In version 2022.06.04 that makes 694 items: 421 train, 131 validation, 142 test.

`price` and `available` are invented: the package knows neither, and filters need something to work on. Both
follow from the id, so they never change.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from catalogue.debian import DebianPackage
from catalogue.errors import FolderError
from catalogue.folder import identifier
from catalogue.split import Split, normalise, split_of

__all__ = ["PACKAGE", "STAMPS_FOLDER", "Recording", "Scan", "Stamp", "scan"]

PACKAGE = DebianPackage(
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    size_bytes=160_880_444,
)
STAMPS_FOLDER = Path("usr/share/tuxpaint/stamps")

_LEFT_OUT = ("symbols/", "town/flags/")
# <stem>_desc.ogg is English; <stem>_desc_pt_BR.wav is not; one file ends in .ogg.ogg.
_RECORDING = re.compile(
    r"^(?P<stem>.+)_desc(?:_(?P<language>[a-z]{2,3}(?:_[A-Z]{2})?))?(?:\.ogg)?\.(?:ogg|wav)$"
)
_OUTSIDE = re.compile(rb"""<image\b[^>]*?\bhref\s*=\s*["'](?!\s*(?:#|data:))""")
_CLAUSE = re.compile(r"[.!?;:(—–]|, | - ")
_ARTICLE = re.compile(r"^(?:a|an|the|some) ", re.IGNORECASE)
# fmt: off
_STOP_WORDS = frozenset((
    "and", "are", "around", "both", "but", "can", "down", "each", "for", "from", "has", "have", "her",
    "his", "how", "into", "its", "like", "makes", "most", "not", "off", "once", "one", "only", "our",
    "out", "over", "she", "some", "take", "than", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "two", "was", "when", "where", "which", "who", "will", "with", "you",
    "your",
))
# fmt: on
_TITLE_CHARACTERS = 48
_MAX_TAGS = 16


@dataclass(frozen=True)
class Recording:
    """A human voice saying the description. `language` is the package's code, English is "en"."""

    path: Path
    language: str


@dataclass(frozen=True)
class Stamp:
    """One item; paths are relative to the stamps folder."""

    stem: Path
    description: str
    picture: Path
    effect: Path | None
    recordings: tuple[Recording, ...]
    redraw: bool = False
    """The picture is an SVG that names another file. Such content is refused wherever it comes from, so the
    catalogue holds it drawn as a PNG, without that file."""

    @property
    def stored_picture(self) -> Path:
        """Where the picture stands below the catalogue's media folder."""
        return self.picture.with_suffix(".png") if self.redraw else self.picture

    @property
    def id(self) -> str:
        return identifier(self.stem)

    @property
    def split(self) -> Split:
        return split_of(self.description)

    @property
    def title(self) -> str:
        """The description without article and full stop where it is short, else its first clause."""
        first = next((part for part in _CLAUSE.split(self.description) if part.strip()), self.description)
        short = _ARTICLE.sub("", first.strip())
        if len(short) > _TITLE_CHARACTERS:
            short = short[:_TITLE_CHARACTERS].rsplit(" ", 1)[0] + "…"
        return short[:1].upper() + short[1:]

    @property
    def category(self) -> str:
        return self.stem.parts[0]

    @property
    def tags(self) -> tuple[str, ...]:
        """Sub-folders, then the words of the description that carry meaning."""
        folders = [part.lower() for part in self.stem.parts[1:-1]]
        words = [
            word for word in normalise(self.description).split() if len(word) > 2 and word not in _STOP_WORDS
        ]
        return tuple(dict.fromkeys(folders + words))[:_MAX_TAGS]

    @property
    def price(self) -> float:
        """Invented: 1 to 500, as many below 22 as above."""
        return round(math.pow(500.0, _unit(self.id, "price")), 2)

    @property
    def available(self) -> bool:
        """Invented: five of six."""
        return _unit(self.id, "available") < 5 / 6


@dataclass(frozen=True)
class Scan:
    """What was found: items in the order of their paths, and what was left out, with the reason."""

    stamps: tuple[Stamp, ...]
    left_out: tuple[tuple[Path, str], ...]
    """Described pictures that are of the right kind and still no items."""
    aside: int
    """Described pictures in `symbols/` and `town/flags/`."""


def scan(folder: Path) -> Scan:
    """Read the stamps folder (`<unpacked package>/usr/share/tuxpaint/stamps`)."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    if not files:
        raise FolderError(folder, "holds no stamps")
    present = set(files)
    recordings: dict[Path, list[Recording]] = {}
    for path in files:
        if match := _RECORDING.match(path.name):
            spoken = Recording(path, match["language"] or "en")
            recordings.setdefault(path.parent / match["stem"], []).append(spoken)
    stamps: list[Stamp] = []
    left_out: list[tuple[Path, str]] = []
    aside = 0
    for text in files:
        if text.suffix != ".txt":
            continue
        pictures = [path for suffix in (".png", ".svg") if (path := text.with_suffix(suffix)) in present]
        if not pictures:
            continue
        if text.as_posix().startswith(_LEFT_OUT):
            aside += 1
            continue
        picture = pictures[0]
        if picture.suffix == ".svg" and _declares_entities(folder / picture):
            left_out.append((picture, "an SVG that declares XML entities, which no safe parser expands"))
            continue
        stem = text.with_suffix("")
        effect = text.with_suffix(".ogg")
        stamps.append(
            Stamp(
                stem=stem,
                description=_first_line(folder / text),
                picture=picture,
                effect=effect if effect in present else None,
                recordings=tuple(recordings.get(stem, ())),
                redraw=picture.suffix == ".svg" and bool(_OUTSIDE.search((folder / picture).read_bytes())),
            )
        )
    return Scan(tuple(stamps), tuple(left_out), aside)


def _first_line(path: Path) -> str:
    """The English description: the first line, before `xx.utf8=` translations."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        return handle.readline().strip()


def _declares_entities(path: Path) -> bool:
    return b"<!ENTITY" in path.read_bytes()


def _unit(key: str, purpose: str) -> float:
    """A number in [0, 1) that follows from the key alone."""
    digest = hashlib.sha256(f"{purpose}:{key}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
