"""Manifests: what is read, what is refused, and where the error says it is."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from catalogue import CatalogueError, ManifestError, ManifestItem, read_manifest, to_proto
from catalogue.manifest import MAX_LINE_BYTES

FROG: dict[str, Any] = {
    "id": "animals.frog",
    "title": "Frog",
    "description": "A green tree frog.",
    "category": "animals",
    "tags": ["amphibian"],
    "price": 12.5,
    "available": True,
    "media": [{"path": "frog.png"}, {"path": "frog.ogg", "role": "effect"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "catalogue"
    inside.mkdir()
    (inside / "frog.png").write_bytes(b"picture")
    (inside / "frog.ogg").write_bytes(b"sound")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return inside


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "manifest.jsonl"
    encoded = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(b"\n".join(encoded) + b"\n")
    return path


def read(folder: Path, *lines: Any) -> list[ManifestItem]:
    return list(read_manifest(write(folder, *lines)))


def test_reads_an_item(folder: Path) -> None:
    (item,) = read(folder, FROG)
    assert (item.id, item.title, item.tags, item.price) == ("animals.frog", "Frog", ("amphibian",), 12.5)
    assert item.paths() == (folder / "frog.png", folder / "frog.ogg")
    assert item.paths("effect") == (folder / "frog.ogg",)
    assert item.paths("") == (folder / "frog.png",)


def test_items_are_frozen(folder: Path) -> None:
    (item,) = read(folder, FROG)
    with pytest.raises(ValidationError):
        item.title = "Toad"  # type: ignore[misc]


def test_inline_text_and_blank_lines(folder: Path) -> None:
    items = read(folder, b"", {"id": "a", "media": [{"text": "Grüße"}]}, b"   ", {"id": "b", "title": "B"})
    assert [item.id for item in items] == ["a", "b"]
    assert items[0].texts == ("Grüße",)


def test_every_field_reaches_the_message(folder: Path) -> None:
    (item,) = read(folder, {**FROG, "split": "test", "attributes": {"colour": "green"}})
    message = to_proto(item)
    assert (message.id, message.title, message.description) == ("animals.frog", "Frog", "A green tree frog.")
    assert (message.category, list(message.tags)) == ("animals", ["amphibian"])
    assert (message.price, message.available) == (12.5, True)
    assert [media.data for media in message.media] == [b"picture", b"sound"]


def test_unset_fields_stay_unset(folder: Path) -> None:
    (item,) = read(folder, {"id": "a", "title": "A"})
    message = to_proto(item)
    assert not message.HasField("price")
    assert not message.HasField("available")


def test_bytes_are_read_late_and_bounded(folder: Path) -> None:
    (item,) = read(folder, FROG)
    with pytest.raises(CatalogueError, match=r"animals\.frog: frog\.png is larger than 3 bytes"):
        to_proto(item, max_media_bytes=3)
    (folder / "frog.png").unlink()
    with pytest.raises(CatalogueError, match=r"frog\.png cannot be read"):
        to_proto(item)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": ""}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"price": -1}, "price"),
        ({"price": float("nan")}, "price"),
        ({"price": float("inf")}, "price"),
        ({"colour": "green"}, "colour"),
        ({"media": [{"path": "toad.png"}]}, "cannot be found"),
        ({"media": [{"path": "."}]}, "not a file"),
        ({"media": [{}]}, "either path or text"),
        ({"media": [{"path": "frog.png", "text": "frog"}]}, "either path or text"),
        ({"media": [{"path": "frog\0.png"}]}, "cannot be found"),
        ({"split": "dev"}, "split"),
        ({"queries": [{"path": "toad.ogg", "language": "en"}]}, "cannot be found"),
        ({"title": " ", "description": "", "media": []}, "needs a title"),
    ],
)
def test_a_bad_item_names_its_line(folder: Path, change: dict[str, Any], reason: str) -> None:
    reader = read_manifest(write(folder, {**FROG, "id": "first"}, {**FROG, **change}))
    assert next(reader).id == "first"
    with pytest.raises(ManifestError, match=reason) as caught:
        next(reader)
    assert caught.value.line == 2
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize("line", [b"{", b"[]", b"7", b"\xff\xfe", b'{"id": "\xe4"}', b"[" * 100_000])
def test_not_an_object(folder: Path, line: bytes) -> None:
    with pytest.raises(ManifestError) as caught:
        read(folder, line)
    assert caught.value.line == 1


def test_a_value_is_never_repeated_in_an_error(folder: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read(folder, {**FROG, "price": "private words"})
    assert "private" not in str(caught.value)


def test_an_id_may_come_once(folder: Path) -> None:
    with pytest.raises(ManifestError, match="came before") as caught:
        read(folder, FROG, FROG)
    assert caught.value.line == 2


def test_a_line_is_bounded(folder: Path) -> None:
    with pytest.raises(ManifestError, match="longer than"):
        read(folder, {"id": "a", "title": "x" * MAX_LINE_BYTES})


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        list(read_manifest(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    "path", ["../secret.png", "/etc/hostname", "x/../../secret.png", "out.png", "outside/secret.png"]
)
def test_no_path_leaves_the_folder(folder: Path, path: str) -> None:
    (folder / "x").mkdir()
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "outside").symlink_to(folder.parent)
    with pytest.raises(ManifestError, match=r"leaves the manifest's folder|is absolute"):
        read(folder, {**FROG, "media": [{"path": path}]})


def test_a_link_that_stays_inside_is_fine(folder: Path) -> None:
    (folder / "same.png").symlink_to(folder / "frog.png")
    (item,) = read(folder, {**FROG, "media": [{"path": "same.png"}]})
    assert item.paths() == (folder / "frog.png",)


def test_a_loop_of_links(folder: Path) -> None:
    (folder / "a.png").symlink_to(folder / "b.png")
    (folder / "b.png").symlink_to(folder / "a.png")
    with pytest.raises(ManifestError, match="cannot be found"):
        read(folder, {**FROG, "media": [{"path": "a.png"}]})


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_items_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "manifest.jsonl"
    path.write_bytes(content)
    with suppress(ManifestError):
        list(read_manifest(path))
