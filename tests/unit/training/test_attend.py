"""Composition is learned from other products than are measured, repeatably, on queries that mean what they
say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from catalogue.generate import picture_png
from catalogue.products import product
from cli import measure
from export.attention import AttentionShape
from export.reranker import ROWS
from training.attend import Schedule, fit
from training.attend_asks import FAMILIES, HELD, Ask, Gallery, Part, ask, is_held, phrases, signature
from training.attend_data import World
from training.attend_products import EVALUATION_SEED, SEEDS

ITEMS = 60


def _unit(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    unit: npt.NDArray[np.float32] = (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
    return unit


def _products(seed: int) -> World:
    rng = np.random.default_rng(seed)
    products = [each for each in (product(seed, index) for index in range(ITEMS)) if not is_held(each)]
    rows = np.zeros((len(products), len(ROWS), 1024), np.float32)
    rows[:, :3] = _unit(rng.standard_normal((len(products), 3, 1024)))
    names = ("shape", "colour", "material", "pattern")
    attributes = {name: np.array([getattr(each, name) for each in products]) for name in names}
    gallery = Gallery(rows, np.zeros((len(products), 512), np.float32), attributes)
    said = phrases(products)
    texts = dict(zip(said, _unit(rng.standard_normal((len(said), 1024))), strict=True))
    asks = [
        one
        for n in range(len(products))
        if (one := ask("this image, without its colour", n, gallery, rng, str(n)))
    ]
    views = dict.fromkeys(("picture", "photograph"), rows[:, 1]) | dict.fromkeys(
        ("sound", "effect"), rows[:, 2]
    )
    return World(gallery, asks, views, dict.fromkeys(("sound", "effect"), gallery.native), texts)


def _stamps() -> World:
    rng = np.random.default_rng(9)
    rows = np.zeros((20, len(ROWS), 1024), np.float32)
    rows[:, :2] = _unit(rng.standard_normal((20, 2, 1024)))
    gallery = Gallery(rows, np.zeros((20, 512), np.float32), {})
    asks = [
        Ask(str(n), "stamps", n, (Part("image", "photograph"), Part("text", "x")), np.arange(20) == n)
        for n in range(20)
    ]
    return World(gallery, asks, {"photograph": rows[:, 1]}, {}, {"x": rows[0, 0]})


def test_no_product_that_is_measured_is_learned_from() -> None:
    # `make evaluate`, the demo and the tests generate with seed 0
    assert '"--seed", "0"' in Path(measure.__file__).read_text(encoding="utf-8")
    seeds = {*SEEDS.values(), EVALUATION_SEED}
    assert len(seeds) == len(SEEDS) + 1
    pictures = [picture_png(product(seed, index), oversample=1) for seed in seeds for index in range(2)]
    assert len(set(pictures)) == len(pictures)
    names = [product(seed, index).id for seed in seeds for index in range(1000)]
    assert len(set(names)) == len(names)


def test_held_out_shapes_and_colours_are_in_no_train_query() -> None:
    world = _products(SEEDS["train"])
    held = {value for values in HELD.values() for value in values}
    assert not held & {str(value) for values in world.gallery.attributes.values() for value in values}
    assert not held & {word for text in world.texts for word in text.split()}


def test_what_answers_fulfils_both_conditions() -> None:
    gallery = _products(SEEDS["train"]).gallery
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        made = [one for n in range(20) if (one := ask(family, n, gallery, rng, "", plain=True))]
        assert made
        for one in made:
            answers = np.flatnonzero(one.relevant)
            shapes = gallery.attributes["shape"]
            assert (shapes[answers] == shapes[one.about]).all()
            for part in one.parts:
                if part.weight < 0:
                    values = [gallery.attributes[name][answers] for name in ("colour", "material", "pattern")]
                    assert not any((value == part.source).any() for value in values)


def test_a_kind_is_what_a_query_is_made_of() -> None:
    assert signature([("text", 1.0), ("image", 2.0)]) == "image+text"
    assert signature([("image", 1.0), ("text", -1.0), ("text", 0.5)]) == "image+text-text"


def test_the_same_seed_trains_the_same_model() -> None:
    schedule = Schedule(steps=4, check_every=2, products=8, stamps=4, checked=5)
    shape = AttentionShape(layers=1, width=8, heads=1, hidden=8)
    made = [
        fit(shape, _products(7), _stamps(), {"products": _products(8)}, schedule, lambda *_: None)
        for _ in range(2)
    ]
    assert made[0][1] == made[1][1]
    for one, other in zip(made[0][0].parameters(), made[1][0].parameters(), strict=True):
        assert torch.equal(one, other)
