"""A folder of media becomes items."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from catalogue import FolderError, read_catalogue, read_folder
from catalogue.folder import MAX_TEXT_BYTES, identifier
from catalogue.manifest import ID_PATTERN


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    frogs = root / "animals" / "frogs"
    frogs.mkdir(parents=True)
    for name in ("tree_frog.png", "tree_frog.ogg", "toad.png"):
        (frogs / name).write_bytes(name.encode())
    (frogs / "tree_frog.txt").write_text("\ufeffA green tree frog.\n", encoding="utf-8")
    (root / "note.txt").write_text("Words alone.", encoding="utf-8")
    (root / ".hidden").write_bytes(b"x")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(b"x")
    return root


def test_files_of_one_stem_are_one_item(tree: Path) -> None:
    items = {item.id: item for item in read_folder(tree)}
    assert set(items) == {"note", "animals.frogs.tree_frog", "animals.frogs.toad"}
    frog = items["animals.frogs.tree_frog"]
    assert (frog.title, frog.description) == ("tree frog", "A green tree frog.")
    assert (frog.category, frog.tags) == ("animals", ("animals", "frogs"))
    assert [path.name for path in frog.paths()] == ["tree_frog.ogg", "tree_frog.png"]
    note = items["note"]
    assert (note.description, note.media, note.category, note.tags) == ("Words alone.", (), "", ())


def test_order_is_that_of_names(tree: Path) -> None:
    assert [item.id for item in read_folder(tree)] == [item.id for item in read_folder(tree)]


def test_a_link_that_leaves_is_refused(tree: Path) -> None:
    (tree.parent / "secret.png").write_bytes(b"secret")
    (tree / "out.png").symlink_to(tree.parent / "secret.png")
    with pytest.raises(FolderError, match="leaves the folder"):
        list(read_folder(tree))


def test_a_linked_folder_is_not_entered(tree: Path) -> None:
    elsewhere = tree.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.png").write_bytes(b"secret")
    (tree / "linked").symlink_to(elsewhere)
    assert not any("secret" in item.id for item in read_folder(tree))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"x" * (MAX_TEXT_BYTES + 1), "longer than"), (b"\xff\xfe\x00", "not UTF-8"), (b" \n", "is empty")],
)
def test_a_bad_text(tree: Path, content: bytes, reason: str) -> None:
    (tree / "bad.txt").write_bytes(content)
    with pytest.raises(FolderError, match=reason):
        list(read_folder(tree))


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(tree: Path) -> None:
    (tree.parent / "secret.png").write_bytes(b"secret")
    (tree / "animals" / "frogs" / "toad.jpg").symlink_to(tree.parent / "secret.png")
    (tree / "animals" / "frogs" / "tree_frog.txt").write_bytes(b"\xff\xfe\x00")
    (tree / "nowhere.png").symlink_to(tree / "gone.png")
    (tree / "loop.png").symlink_to(tree / "loop.png")
    (tree / "long.txt").write_bytes(b"x" * (MAX_TEXT_BYTES + 1))
    os.mkfifo(tree / "pipe.wav")
    told: list[FolderError] = []
    items = {item.id: item for item in read_folder(tree, told.append)}
    assert set(items) == {"note", "animals.frogs.tree_frog", "animals.frogs.toad"}
    assert items["animals.frogs.tree_frog"].description == ""
    assert len(items["animals.frogs.tree_frog"].media) == 2
    assert [path.name for path in items["animals.frogs.toad"].paths()] == ["toad.png"]
    assert {error.path.name: error.reason for error in told} == {
        "toad.jpg": "is a link that leaves the folder",
        "tree_frog.txt": "not UTF-8",
        "nowhere.png": "is a link that leads nowhere",
        "loop.png": "is a link that leads nowhere",
        "long.txt": f"longer than {MAX_TEXT_BYTES} bytes",
        "pipe.wav": "is not a file",
    }


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no files"):
        list(read_folder(tmp_path))
    with pytest.raises(FolderError, match="not a folder"):
        list(read_folder(tmp_path / "none"))


def test_a_folder_with_a_manifest_is_read_by_it(tree: Path) -> None:
    (tree / "manifest.jsonl").write_text('{"id": "only", "title": "Only"}\n', encoding="utf-8")
    assert [item.id for item in read_catalogue(tree)] == ["only"]
    assert [item.id for item in read_catalogue(tree / "manifest.jsonl")] == ["only"]


def test_ids_are_allowed_and_differ() -> None:
    names = ["a/b", "a b", "a+b", "ложка", "вилка", "x" * 200, "x" * 199 + "y", "birds/cockatiel"]
    found = [identifier(Path(name)) for name in names]
    assert len(set(found)) == len(names)
    assert all(re.match(ID_PATTERN, each) for each in found)
    assert found[-1] == "birds.cockatiel"
