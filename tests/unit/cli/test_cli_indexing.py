"""Items that cannot be sent are refused one by one; the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from catalogue import ManifestItem, read_manifest
from cli import indexing
from cli.client import Client
from sensorium.v1 import sensorium_pb2 as pb


class Echo:
    """Takes every item that reaches it."""

    def upsert(self, items: Iterable[pb.Item]) -> Iterator[pb.UpsertResult]:
        for item in items:
            yield pb.UpsertResult(id=item.id, outcome=pb.UpsertResult.INDEXED, rows=1)


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
