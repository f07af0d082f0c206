"""Every kind of made query on the real stamps, WordNet and espeak-ng."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from catalogue.debian import available
from catalogue.manifest import ManifestItem, read_manifest
from catalogue.settings import CatalogueSettings
from catalogue.split import normalise, split_of
from media import Limits, decode_audio
from queries import KINDS, MadeQuery, UnknownKindError, make_queries
from queries.recordings import recordings
from queries.wordnet import PACKAGE

SETTINGS = CatalogueSettings()
MANIFEST = SETTINGS.catalogues / "stamps" / "manifest.jsonl"


class Home:
    """Another home that shares the fetched packages."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        (folder / "cache").mkdir(parents=True)
        for path in SETTINGS.cache.iterdir():
            if path.name != "queries":
                (folder / "cache" / path.name).symlink_to(path)


@pytest.fixture(scope="module")
def items(espeak: str) -> list[ManifestItem]:
    if not MANIFEST.is_file():
        pytest.skip("the stamps are not built: run `python -m catalogue stamps`")
    if reason := available(PACKAGE, SETTINGS.cache):
        pytest.skip(reason)
    return list(read_manifest(MANIFEST))


@pytest.fixture(scope="module")
def few(items: list[ManifestItem]) -> list[ManifestItem]:
    with_clip = [item for item in items if item.split != "test" and item.paths("clip")]
    return with_clip[:2] + [item for item in items if item.split == "train" and not item.paths("clip")][:2]


def contents(queries: Sequence[MadeQuery]) -> list[tuple[str, tuple[str | bytes, ...]]]:
    return [
        (query.name, tuple(part if isinstance(part, str) else part.read_bytes() for part in query.parts))
        for query in queries
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_made_anew_byte_for_byte(kind: str, few: list[ManifestItem], tmp_path: Path) -> None:
    here = make_queries(kind, few, SETTINGS)
    there = make_queries(kind, few, Home(tmp_path / "home"))
    assert here
    assert contents(here) == contents(there)
    known = {item.id: item for item in few}
    assert all(known[query.item.id] is query.item and query.kind == kind for query in here)
    indexed = {path.read_bytes() for item in few for path in item.paths()}
    assert not indexed & {part for _, parts in contents(here) for part in parts if isinstance(part, bytes)}


def test_speech_says_both_texts_and_can_be_decoded(few: list[ManifestItem]) -> None:
    spoken = make_queries("speech", few, SETTINGS)
    assert {query.way for query in spoken} == {"description", "paraphrase"}
    for query in spoken:
        assert isinstance(query.parts[0], Path)
        assert decode_audio(query.parts[0].read_bytes(), Limits()).samples.size > 0


def test_no_paraphrase_is_a_description_of_any_split(items: list[ManifestItem]) -> None:
    made = make_queries("paraphrase", items, SETTINGS)
    assert len(made) > 0.75 * len(items)
    descriptions = {normalise(item.description) for item in items}
    assert not {normalise(str(query.parts[0])) for query in made} & descriptions
    assert all(query.item.split == split_of(query.item.description) for query in made)


def test_recordings_are_not_made_and_belong_to_items_of_all_splits(items: list[ManifestItem]) -> None:
    with pytest.raises(UnknownKindError):
        make_queries("recording", items, SETTINGS)
    heard = recordings(items)
    assert len(heard) == 65
    assert {query.item.split for query in heard} == {"train", "validation", "test"}
