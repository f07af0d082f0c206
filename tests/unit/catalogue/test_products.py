"""The generated catalogue: coverage, families, words, pictures, sounds, clips, determinism."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from catalogue.clips import CLIP_FPS
from catalogue.generate import CLIP_EVERY, PICTURE_SIZE_PX, make_media
from catalogue.impact import SAMPLE_RATE_HZ, knock
from catalogue.products import FAMILY_SIZE, MADE_OF, Product, product
from catalogue.rendering import COLOURS, MATERIALS, PATTERNS, SIZES, Look, render
from catalogue.solids import SHAPES

ATTRIBUTES = ("shape", "colour", "material", "pattern", "size")


@pytest.mark.parametrize("seed", [0, 7, 123])
def test_200_items_cover_every_value(seed: int) -> None:
    items = [product(seed, index) for index in range(200)]
    for name, values in zip(ATTRIBUTES, (SHAPES, COLOURS, MATERIALS, PATTERNS, SIZES), strict=True):
        assert {getattr(item, name) for item in items} == set(values)


def test_a_family_differs_in_one_thing() -> None:
    for family in range(60):
        base, *others = (product(7, FAMILY_SIZE * family + member) for member in range(FAMILY_SIZE))
        changed = [
            [name for name in ATTRIBUTES if getattr(base, name) != getattr(other, name)] for other in others
        ]
        assert changed[0] == ["colour"]
        assert changed[1] == ["material"]
        assert changed[2] in (["pattern"], ["size"])


def test_materials_suit_the_shape() -> None:
    assert all((item := product(3, index)).material in MADE_OF[item.shape] for index in range(2000))


def test_words_name_every_attribute() -> None:
    openings = set()
    for index in range(200):
        item = product(7, index)
        text = f"{item.title} {item.description}".lower()
        told = {name: getattr(item, name) for name in ATTRIBUTES}
        assert [value for value in told.values() if value != "plain" and value not in text] == []
        assert "  " not in item.description
        assert item.description.endswith(".")
        openings.add(item.description.split()[0])
    assert len(openings) > 5


def test_same_seed_same_item_other_seed_another() -> None:
    def facts(item: Product) -> tuple[object, ...]:
        return (*dataclasses.astuple(item), item.description, item.price, item.available)

    assert [facts(product(7, index)) for index in range(40)] == [
        facts(product(7, index)) for index in range(40)
    ]
    assert [facts(product(7, index))[2:] for index in range(8)] != [
        facts(product(8, index))[2:] for index in range(8)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for folder in folders:
        make_media(product(7, 0), folder)
        make_media(product(7, 1), folder)
    return folders


def test_same_seed_same_bytes(made: tuple[Path, Path]) -> None:
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in made)
    assert set(one) == set(two)
    for name in one:
        if name.endswith(".mp4"):
            # A codec may choose by what the processor offers; what is decoded must not differ on one machine.
            assert all(map(np.array_equal, frames(made[0] / name), frames(made[1] / name)))
        else:
            assert one[name] == two[name], name


def test_every_kth_item_has_a_clip(made: tuple[Path, Path]) -> None:
    clips = [path for path in made[0].iterdir() if path.suffix == ".mp4"]
    assert CLIP_EVERY > 1
    assert len(clips) == 1
    assert math.gcd(CLIP_EVERY, FAMILY_SIZE) == 1


def frames(path: Path) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_clip_turns_for_three_to_five_seconds_with_sound(made: tuple[Path, Path]) -> None:
    (clip,) = made[0].glob("*.mp4")
    pictures = frames(clip)
    assert 3.0 <= len(pictures) / CLIP_FPS <= 5.0
    assert not np.array_equal(pictures[0], pictures[len(pictures) // 4])
    with av.open(clip) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        heard = sum(frame.samples for frame in container.decode(audio=0)) / container.streams.audio[0].rate
        assert heard == pytest.approx(len(pictures) / CLIP_FPS, abs=0.1)


def test_media_that_is_there_is_kept(made: tuple[Path, Path], tmp_path: Path) -> None:
    make_media(product(7, 1), tmp_path)
    (picture,) = tmp_path.glob("*.png")
    picture.write_bytes(b"kept")
    make_media(product(7, 1), tmp_path)
    assert picture.read_bytes() == b"kept"


def test_picture_and_sound_are_what_they_say(made: tuple[Path, Path]) -> None:
    for picture in made[0].glob("*.png"):
        assert Image.open(io.BytesIO(picture.read_bytes())).size == (PICTURE_SIZE_PX, PICTURE_SIZE_PX)
    for sound in made[0].glob("*.flac"):
        samples, rate_hz = soundfile.read(sound)
        assert rate_hz == SAMPLE_RATE_HZ
        assert 1.0 <= len(samples) / rate_hz <= 3.0
        assert np.abs(samples).max() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("yaw", [0.4, 2.0, 4.1])
def test_a_large_product_stays_in_the_picture(shape: str, yaw: float) -> None:
    picture = render(Look(shape, "black", "plastic", "plain", "large", seed=1), yaw, 128).astype(int)
    dark = picture.max(axis=2) < 70
    assert dark.sum() > 400
    border = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]])
    assert not border.any()


@pytest.mark.parametrize("colour", ["red", "green", "blue", "yellow"])
def test_the_colour_shows(colour: str) -> None:
    picture = render(Look("ball", colour, "plastic", "plain", "large", seed=1), 0.5, 96).astype(float)
    shown = picture[30:66, 30:66].reshape(-1, 3).mean(axis=0)
    wanted = np.array(COLOURS[colour], float)
    nearest = min(COLOURS, key=lambda name: _hue_distance(shown, np.array(COLOURS[name], float)))
    assert nearest == colour
    assert _hue_distance(shown, wanted) < 0.1


def _hue_distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_sizes_differ() -> None:
    areas = []
    for size in SIZES:
        picture = render(Look("mug", "black", "plastic", "plain", size, seed=1), 0.5, 96).astype(int)
        areas.append(int((picture.max(axis=2) < 70).sum()))
    assert areas == sorted(areas)
    assert areas[0] < 0.5 * areas[-1]


def test_metal_rings_longer_than_wood() -> None:
    def silent_share(material: str) -> float:
        samples = np.abs(knock("box", material, "medium", np.random.default_rng(5)))
        return float((samples < 0.01).mean())

    assert silent_share("metal") < silent_share("wood") - 0.2


def test_size_sets_the_pitch() -> None:
    def strongest_hz(size: str) -> float:
        samples = knock("vase", "metal", size, np.random.default_rng(5))
        spectrum = np.abs(np.fft.rfft(samples))
        return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / len(samples))

    assert strongest_hz("small") > strongest_hz("medium") > strongest_hz("large")
