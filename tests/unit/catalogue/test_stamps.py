"""Which files of the stamps tree are items, on a small tree of the same make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogue import FolderError, ManifestItem
from catalogue.stamps import Scan, Stamp, scan
from catalogue.stamps_build import CLIPS_PER_SPLIT, choose_clips

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
TRACED = SVG[:-2] + b'><image xlink:href="photo.png"/><image href="data:image/png;base64,AA"/></svg>'
ENTITIES = b'<!DOCTYPE svg [<!ENTITY ns "x">]>' + SVG


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "animals/birds/cockatiel.png": b"png",
        "animals/birds/cockatiel.txt": b"A cockatiel.\nfr.utf8=Une calopsitte.\n",
        "animals/birds/cockatiel.ogg": b"effect",
        "animals/birds/cockatiel_desc.ogg": b"voice",
        "animals/birds/cockatiel_desc_fr.ogg": b"voix",
        "animals/birds/cockatiel_desc_pt_BR.wav": b"voz",
        "animals/birds/cockatiel_desc_da.ogg.ogg": b"stemme",
        "animals/bee.png": b"png",
        "animals/bee.svg": ENTITIES,
        "animals/bee.txt": b"A bee.\n",
        "animals/bee_mirror.png": b"png",
        "animals/silent_desc.ogg": b"voice without a picture",
        "food/loaf.svg": ENTITIES,
        "food/loaf.txt": b"Bread, sliced, and shared by everyone.\n",
        "food/pear.svg": SVG,
        "food/traced.svg": TRACED,
        "food/traced.txt": b"A fig.\n",
        "food/pear.txt": b"A pear.\n",
        "symbols/math/1.png": b"png",
        "symbols/math/1.txt": b"One.\n",
        "town/flags/red.png": b"png",
        "town/flags/red.txt": b"A red flag.\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


@pytest.fixture
def found(tree: Path) -> Scan:
    return scan(tree)


def test_what_is_an_item(found: Scan) -> None:
    assert [stamp.id for stamp in found.stamps] == [
        "animals.bee",
        "animals.birds.cockatiel",
        "food.pear",
        "food.traced",
    ]
    assert [str(stamp.picture) for stamp in found.stamps] == [
        "animals/bee.png",
        "animals/birds/cockatiel.png",
        "food/pear.svg",
        "food/traced.svg",
    ]
    assert found.aside == 2


def test_what_is_left_out_is_named(found: Scan) -> None:
    assert [path.as_posix() for path, _ in found.left_out] == ["food/loaf.svg"]
    assert "entities" in found.left_out[0][1]


def test_an_svg_that_names_a_file_is_redrawn(found: Scan) -> None:
    assert [stamp.redraw for stamp in found.stamps] == [False, False, False, True]
    assert found.stamps[2].stored_picture == Path("food/pear.svg")
    assert found.stamps[3].stored_picture == Path("food/traced.png")


def test_sounds_and_recordings(found: Scan) -> None:
    bird = found.stamps[1]
    assert bird.effect == Path("animals/birds/cockatiel.ogg")
    assert sorted(spoken.language for spoken in bird.recordings) == ["da", "en", "fr", "pt_BR"]


def stamp(description: str, stem: str = "animals/thing", effect: str | None = None) -> Stamp:
    return Stamp(Path(stem), description, Path(f"{stem}.png"), Path(effect) if effect else None, ())


@pytest.mark.parametrize(
    ("description", "title"),
    [
        ("A cockatiel.", "Cockatiel"),
        ("Tux—the Linux mascot!", "Tux"),
        (
            "A mince pie is a traditional Christmas food in the UK. More.",
            "Mince pie is a traditional Christmas food in…",
        ),
        ("An F-22 Raptor.", "F-22 Raptor"),
    ],
)
def test_titles(description: str, title: str) -> None:
    assert stamp(description).title == title


def test_tags_are_folders_and_words() -> None:
    assert stamp("The house of the hunter.", "town/houses/Cartoon/x").tags == (
        "houses",
        "cartoon",
        "house",
        "hunter",
    )


def test_invented_fields_follow_from_the_id_and_are_useful() -> None:
    stamps = [stamp("A thing.", f"animals/thing{number}") for number in range(500)]
    assert [each.price for each in stamps] == [each.price for each in stamps]
    assert all(1 <= each.price <= 500 for each in stamps)
    assert 0.4 < sum(each.price < 22.4 for each in stamps) / 500 < 0.6
    assert 0.76 < sum(each.available for each in stamps) / 500 < 0.9


def test_clips_take_sounds_first_and_every_side() -> None:
    stamps = [
        stamp(
            f"A thing number {number}.",
            f"animals/{number}",
            f"animals/{number}.ogg" if number % 9 == 0 else None,
        )
        for number in range(400)
    ]
    chosen = choose_clips(stamps)
    assert chosen == choose_clips(reversed(stamps))
    for split, wanted in CLIPS_PER_SPLIT.items():
        here = [each for each in stamps if each.split == split]
        picked = [each for each in chosen if each.split == split]
        assert len(picked) == min(wanted, len(here))
        with_sound = [each for each in here if each.effect]
        assert sum(each.effect is not None for each in picked) == min(wanted, len(with_sound))


def test_an_empty_tree(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no stamps"):
        scan(tmp_path)


def test_ids_suit_the_api(found: Scan) -> None:
    for each in found.stamps:
        line = json.dumps({"id": each.id, "title": each.title, "tags": each.tags, "split": each.split})
        assert ManifestItem.model_validate_json(line).id == each.id
