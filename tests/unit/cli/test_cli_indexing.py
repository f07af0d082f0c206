"""Items that cannot be sent are refused one by one; the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from catalogue import ManifestItem, read_catalogue, read_manifest
from cli import indexing
from cli.client import Client
from sensorium.v1 import sensorium_pb2 as pb


class Echo:
    """Takes every item that reaches it."""

    def upsert(self, items: Iterable[pb.Item]) -> Iterator[pb.UpsertResult]:
        for item in items:
            yield pb.UpsertResult(id=item.id, outcome=pb.UpsertResult.INDEXED, rows=1)


class Picky:
    """Refuses media that begin with "bad", as the server does: the first of an item, by its number."""

    def __init__(self) -> None:
        self.taken: dict[str, list[bytes]] = {}

    def upsert(self, items: Iterable[pb.Item]) -> Iterator[pb.UpsertResult]:
        for item in items:
            media = [each.data for each in item.media]
            bad = next((place for place, data in enumerate(media) if data.startswith(b"bad")), None)
            if bad is None:
                self.taken[item.id] = media
                yield pb.UpsertResult(id=item.id, outcome=pb.UpsertResult.INDEXED, rows=len(media))
            else:
                error = pb.Error(code="media.unsupported", message="no", part=bad)
                yield pb.UpsertResult(id=item.id, outcome=pb.UpsertResult.REFUSED, error=error)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("frog.png", "frog.ogg", "toad.png", "zoo.mp4"):
        (tmp_path / name).write_bytes(name.encode())
    for name in ("frog.bin", "frog.mp4", "newt.pdf", "README.pdf"):
        (tmp_path / name).write_bytes(b"bad")
    (tmp_path / "newt.txt").write_text("A newt.")
    return tmp_path


def test_a_folder_is_indexed_without_what_is_refused(folder: Path) -> None:
    server = Picky()
    items = list(read_catalogue(folder))
    summary = indexing.index_items(cast(Client, server), items, Console(stderr=True), lenient=True)
    assert server.taken == {"frog": [b"frog.ogg", b"frog.png"], "newt": [], "toad": [b"toad.png"]} | {
        "zoo": [b"zoo.mp4"]
    }
    passed_over = sorted(media.path.name for media in summary.passed_over if media.path)
    assert passed_over == ["frog.bin", "frog.mp4", "newt.pdf"]
    assert {media.error.code for media in summary.passed_over} == {"media.unsupported"}
    # Nothing is left of this one.
    assert [result.id for result in summary.refused] == ["README"]
    assert summary.refused_files == {"README": folder / "README.pdf"}
    assert summary.outcomes == {"INDEXED": 4, "REFUSED": 1}


def test_a_file_of_a_folder_that_has_gone_is_passed_over(folder: Path) -> None:
    server = Picky()
    items = [item for item in read_catalogue(folder) if item.id in {"frog", "toad"}]
    for name in ("frog.png", "toad.png"):
        (folder / name).unlink()
    summary = indexing.index_items(cast(Client, server), items, Console(stderr=True), lenient=True)
    assert server.taken == {"frog": [b"frog.ogg"]}
    assert "catalogue.unreadable" in {media.error.code for media in summary.passed_over}
    assert [result.id for result in summary.refused] == ["toad"]


def test_a_manifest_is_held_to_its_word(folder: Path) -> None:
    items = [item for item in read_catalogue(folder) if item.id == "frog"]
    summary = indexing.index_items(cast(Client, Picky()), items, Console(stderr=True))
    assert summary.outcomes == {"REFUSED": 1}
    assert not summary.passed_over


@pytest.fixture
def items(tmp_path: Path) -> list[ManifestItem]:
    (tmp_path / "a.png").write_bytes(b"x" * 1000)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(
        '{"id": "first", "title": "First"}\n'
        '{"id": "file", "title": "File", "media": [{"path": "a.png"}]}\n'
        '{"id": "last", "title": "Last"}\n'
    )
    return list(read_manifest(manifest))


def test_a_file_that_has_gone(items: list[ManifestItem]) -> None:
    items[1].paths()[0].unlink()
    summary = indexing.index_items(cast(Client, Echo()), items, Console(stderr=True))
    assert summary.outcomes == {"INDEXED": 2, "REFUSED": 1}
    (refused,) = summary.refused
    assert (refused.id, refused.error.code) == ("file", "catalogue.unreadable")
    assert "a.png" in refused.error.message


def test_an_item_that_no_message_holds(items: list[ManifestItem], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "MAX_ITEM_BYTES", 500)
    summary = indexing.index_items(cast(Client, Echo()), items, Console(stderr=True))
    assert summary.outcomes == {"INDEXED": 2, "REFUSED": 1}
    assert summary.refused[0].error.limit == "max_item_bytes=500"
    assert summary.refused[0].error.part == 0
