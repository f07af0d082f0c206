"""Made queries of every kind, the same for the same seed and item, cached below `home`/cache/queries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from catalogue.building import write_bytes
from catalogue.manifest import ManifestItem
from catalogue.split import Split
from queries.clips import clip
from queries.errors import UnknownKindError
from queries.paraphrases import paraphrases
from queries.photographs import photograph
from queries.sounds import effect, speech
from queries.types import HasHome, MadeQuery, chance
from queries.wordnet import open_wordnet

__all__ = ["KINDS", "make_queries"]

KINDS = ("paraphrase", "photograph", "speech", "clip", "effect", "mix")
PICTURES = (".png", ".svg", ".jpg", ".jpeg", ".webp")
# Part of a file's name: a change of how a kind is made makes new files.
_RECIPES = {"photograph": "1", "speech": "1", "clip": "2", "effect": "1"}


def make_queries(
    kind: str,
    items: Sequence[ManifestItem],
    settings: HasHome,
    seed: int = 0,
    split: Split | None = None,
) -> list[MadeQuery]:
    """At most one query an item, in their order; of `speech` one that reads the description and one that
    reads the paraphrase. An item that a kind cannot be made of gets none.

    Give the whole catalogue and choose by `split`: a paraphrase that is the description of one of `items` is
    left out, so that no query of one split is a description of another. What an item gets does not otherwise
    depend on its neighbours. Human recordings are not made here: they stand in `queries.recordings`, which
    only evaluation may import.

    Raises:
        UnknownKindError: not one of KINDS.
        ToolError, SourceError, CatalogueError: what it takes cannot be had.
    """
    if kind not in KINDS:
        raise UnknownKindError(f"{kind!r} is not made: one of {', '.join(KINDS)}")
    cache = settings.home.absolute() / "cache"
    own = [item for item in items if split is None or item.split == split]
    if kind == "photograph":
        return _photographs(own, cache, seed)
    if kind == "clip":
        return _files(kind, "webm", "clip", own, clip, cache, seed)
    if kind == "effect":
        return _files(kind, "mp3", "effect", own, effect, cache, seed)
    said = paraphrases(items, open_wordnet(cache), seed)
    if kind == "paraphrase":
        return [query for query in said if split is None or query.item.split == split]
    if kind == "speech":
        return _speech(own, said, cache, seed)
    return _mixes(own, said, cache, seed)


def _photographs(items: Sequence[ManifestItem], cache: Path, seed: int) -> list[MadeQuery]:
    return _files("photograph", "jpg", "", items, photograph, cache, seed)


def _files(
    kind: str,
    suffix: str,
    role: str,
    items: Sequence[ManifestItem],
    make: Callable[[Path, np.random.Generator], bytes],
    cache: Path,
    seed: int,
) -> list[MadeQuery]:
    """One file from each item's first file of a role."""
    made = []
    for item in items:
        sources = [path for path in item.paths(role) if role or path.suffix.lower() in PICTURES]
        if sources:
            source = sources[0]
            digest = hashlib.sha256(source.read_bytes()).hexdigest()
            key = (kind, seed, item.id, digest)
            path = _path(cache, suffix, key)
            if not path.is_file():
                write_bytes(path, make(source, chance(*key)))
            made.append(MadeQuery(f"{item.id}/{kind}", item, kind, (path,)))
    return made


def _speech(
    items: Sequence[ManifestItem], said: Sequence[MadeQuery], cache: Path, seed: int
) -> list[MadeQuery]:
    others = {query.item.id: query.parts[0] for query in said}
    made = []
    for item in items:
        for way, text in (("description", item.description), ("paraphrase", others.get(item.id))):
            if text:
                split = item.split or "train"
                key = ("speech", seed, item.id, split, str(text))
                path = _path(cache, "wav", key)
                if not path.is_file():
                    write_bytes(path, speech(str(text), split, chance(*key)))
                made.append(MadeQuery(f"{item.id}/{way}", item, "speech", (path,)))
    return made


def _mixes(
    items: Sequence[ManifestItem], said: Sequence[MadeQuery], cache: Path, seed: int
) -> list[MadeQuery]:
    words = {query.item.id: query.parts[0] for query in said}
    seen = _photographs([item for item in items if item.id in words], cache, seed)
    return [
        MadeQuery(f"{query.item.id}/mix", query.item, "mix", (*query.parts, words[query.item.id]))
        for query in seen
    ]


def _path(cache: Path, suffix: str, key: tuple[str | int, ...]) -> Path:
    """Where the file of a key stands, whether it is made yet or not."""
    kind = str(key[0])
    name = hashlib.sha256("\x1f".join(map(str, (_RECIPES[kind], *key))).encode()).hexdigest()[:32]
    folder = cache / "queries" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.{suffix}"
