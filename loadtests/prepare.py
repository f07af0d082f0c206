"""Payloads from a catalogue: made queries, no copies of what is indexed.

python -m loadtests.prepare --catalogue manifest.jsonl --out FOLDER [--pool 200] [--seed 0]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogue import CatalogueError, ManifestItem, read_manifest
from catalogue.settings import CatalogueSettings
from loadtests.errors import LoadTestError, PayloadsError
from loadtests.payloads import INDEX
from queries import MadeQuery, QueriesError, make_queries
from queries.recordings import recordings
from queries.types import HasHome

__all__ = ["POOL", "prepare"]

POOL = 200
"""Queries of a modality, where the catalogue yields as many."""
RECIPE = 1
"""Changes with what is made of a catalogue."""


def prepare(manifest: Path, settings: HasHome, out: Path, pool: int = POOL, seed: int = 0) -> None:
    """Fills `out` with up to `pool` queries of each modality, unless they are there already.

    Text is half descriptions, half paraphrases; images are photographs; audio is human recordings and sound
    effects, a quarter of each where there are as many, and speech; video is clips. Items of the test split
    are left alone. Made files are cached below `settings.home`.

    Raises:
        PayloadsError: a modality has no queries, or the pool is empty.
        QueriesError, CatalogueError: they cannot be made.
    """
    if pool < 1:
        raise PayloadsError("a pool holds at least one query of each modality")
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    made = {"catalogue": digest, "pool": pool, "seed": seed, "recipe": RECIPE}
    if _read_made(out) == made:
        return
    items = [item for item in read_manifest(manifest) if item.split != "test"]
    chosen = _Maker(sorted(items, key=lambda item: _spread(item.id, seed)), settings, seed)
    queries = {
        "text": chosen.texts(pool),
        "image": chosen.made("photograph", pool),
        "audio": chosen.sounds(pool),
        "video": chosen.made("clip", pool),
    }
    if lacking := [modality for modality, each in queries.items() if not each]:
        raise PayloadsError(f"{manifest}: nothing to ask of {', '.join(lacking)}")
    shutil.rmtree(out, ignore_errors=True)
    index = {modality: _store(out, modality, each) for modality, each in queries.items()}
    partial = out / f"{INDEX}.part"
    partial.write_text(json.dumps({"made": made, "queries": index}, indent=1), "utf-8")
    partial.replace(out / INDEX)


@dataclass(frozen=True)
class _Maker:
    """Queries of items in an order that the seed gives; only of as many items as are needed."""

    items: Sequence[ManifestItem]
    settings: HasHome
    seed: int

    def texts(self, count: int) -> list[str | Path]:
        described = [item.description for item in self.items if item.description]
        other = self._first(self._make(self.items[:count], "paraphrase"), count // 2)
        return [*other, *list(dict.fromkeys(described))[: count - len(other)]]

    def sounds(self, count: int) -> list[str | Path]:
        heard = self._first(recordings(self.items), count // 4)
        effects = self.made("effect", count // 4)
        spoken = self.made("speech", count - len(heard) - len(effects))
        return [*heard, *effects, *spoken]

    def made(self, kind: str, count: int) -> list[str | Path]:
        can: Callable[[ManifestItem], object] = {
            "photograph": lambda item: item.paths(""),
            "clip": lambda item: item.paths("clip"),
            "effect": lambda item: item.paths("effect"),
            "speech": lambda item: item.description,
        }[kind]
        able = [item for item in self.items if can(item)]
        return self._first(self._make(able[:count], kind), count)

    def _make(self, items: Sequence[ManifestItem], kind: str) -> list[MadeQuery]:
        return make_queries(kind, items, self.settings, self.seed)

    def _first(self, queries: Sequence[MadeQuery], count: int) -> list[str | Path]:
        return [query.parts[0] for query in queries][:count]


def _store(out: Path, modality: str, queries: Sequence[str | Path]) -> list[dict[str, str]]:
    entries = []
    for place, query in enumerate(queries):
        if isinstance(query, str):
            entries.append({"text": query})
            continue
        name = f"{modality}/{place:04d}{query.suffix}"
        (out / modality).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(query, out / name)
        entries.append({"file": name})
    out.mkdir(parents=True, exist_ok=True)
    return entries


def _read_made(out: Path) -> object:
    try:
        return json.loads((out / INDEX).read_text("utf-8"))["made"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _spread(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\x1f{name}".encode()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.prepare", description="Queries for a load test."
    )
    parser.add_argument("--catalogue", type=Path, required=True, help="manifest.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pool", type=int, default=POOL, help="queries of each modality")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        prepare(arguments.catalogue, CatalogueSettings(), arguments.out, arguments.pool, arguments.seed)
    except (LoadTestError, QueriesError, CatalogueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
