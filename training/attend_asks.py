"""Composed queries: what is asked of generated products and of stamps, and what answers it.

Of a product somebody asks for "this, but blue" or "this, without stripes": what answers has its shape and the
wish fulfilled. Shapes and colours of `HELD` are in no train query and no train gallery, so that validation
tells what carries over to what was never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalogue.products import Product

__all__ = ["FAMILIES", "HELD", "SHOWN", "Ask", "Gallery", "Part", "ask", "is_held", "phrases", "signature"]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

HELD = {"shape": ("stool", "teapot"), "colour": ("brown", "pink")}
NEGATIVE_WEIGHTS = (-0.5, -1.0, -1.0, -2.0)
WORDS: dict[str, tuple[str, ...]] = {
    "colour": ("{}", "in {}", "a {} one", "but {}"),
    "material": ("{}", "made of {}", "a {} one", "but of {}"),
    "pattern": ("{}", "a {} one", "but {}"),
}
UNWANTED: dict[str, tuple[str, ...]] = {
    "colour": ("{}",),
    "material": ("{}", "made of {}"),
    "pattern": ("{}",),
}


@dataclass(frozen=True)
class Part:
    """``kind`` is one of `export.reranker.KINDS`; ``source`` says where its vector stands: a text's own
    words, or "photograph", "picture" and "effect" of the row that is asked about."""

    kind: str
    source: str
    weight: float = 1.0


@dataclass(frozen=True)
class Ask:
    """A query about gallery row ``about``. ``relevant`` bool [n]; ``only`` names the rows that are looked at,
    none for all; ``held`` says which held-out attribute is asked for, "" for none."""

    name: str
    family: str
    about: int
    parts: tuple[Part, ...]
    relevant: Bools
    only: tuple[str, ...] = ()
    held: str = ""

    @property
    def signature(self) -> str:
        return signature([(part.kind, part.weight) for part in self.parts])


@dataclass(frozen=True)
class Gallery:
    """What is looked for: rows FP32 [n, 4, 1024] by `export.reranker.ROWS`, zeros where there is none, and
    native sound vectors FP32 [n, 512]. ``attributes`` [n] of each name, where the items have some."""

    rows: Floats
    native: Floats
    attributes: dict[str, npt.NDArray[np.str_]]

    @property
    def present(self) -> Bools:
        there: Bools = np.abs(self.rows).sum(axis=-1) > 0
        return there


def signature(parts: Sequence[tuple[str, float]]) -> str:
    """What a query is made of: modalities wanted, then those pushed away, as "image+text-text"."""
    wanted = sorted({kind for kind, weight in parts if weight > 0})
    unwanted = sorted({kind for kind, weight in parts if weight < 0})
    return "+".join(wanted) + "".join(f"-{kind}" for kind in unwanted)


def is_held(each: Product) -> bool:
    """Whether a product is kept out of training."""
    return each.shape in HELD["shape"] or each.colour in HELD["colour"]


def ask(
    family: str, about: int, gallery: Gallery, rng: np.random.Generator, name: str, plain: bool = False
) -> Ask | None:
    """A query of ``family`` about a product, None where nothing in the gallery answers it.

    ``plain``: in the plainest words, with a weight of -1, and from a photograph.
    """
    made = FAMILIES[family](about, gallery, rng, plain)
    if made is None or not made[1].any():
        return None
    parts, relevant, wished = made
    held = "shape" if gallery.attributes["shape"][about] in HELD["shape"] else ""
    if not held and any(value in HELD["colour"] for value in wished):
        held = "colour"
    only = ("image",) if family == "like this sound, as a picture" else ()
    return Ask(name, family, about, parts, relevant, only, held)


_Made = tuple[tuple[Part, ...], Bools, tuple[str, ...]] | None
_Maker = Callable[[int, Gallery, np.random.Generator, bool], _Made]


def _but(*names: str) -> _Maker:
    """ "This image, but blue": the same shape, and other values of these attributes."""

    def make(about: int, gallery: Gallery, rng: np.random.Generator, plain: bool) -> _Made:
        values = gallery.attributes
        alike = values["shape"] == values["shape"][about]
        chosen = alike & np.logical_and.reduce([values[name] != values[name][about] for name in names])
        if not chosen.any():
            return None
        model = int(rng.choice(np.flatnonzero(chosen)))
        wished = tuple(str(values[name][model]) for name in names)
        relevant = alike.copy()
        for name, value in zip(names, wished, strict=True):
            relevant &= values[name] == value
        alone = len(names) == 1
        said = _worded(names[0], wished[0], WORDS, rng, plain) if alone else " ".join(wished)
        return (_shown(rng, plain), Part("text", said)), relevant, wished

    return make


def _without(name: str) -> _Maker:
    """ "This without stripes": the same shape, and not this value."""

    def make(about: int, gallery: Gallery, rng: np.random.Generator, plain: bool) -> _Made:
        values = gallery.attributes
        value = str(values[name][about])
        if value == "plain":
            return None
        relevant = (values["shape"] == values["shape"][about]) & (values[name] != value)
        said = _worded(name, value, UNWANTED, rng, plain)
        return (_shown(rng, plain), Part("text", said, _negative(rng, plain))), relevant, ()

    return make


def _but_without(about: int, gallery: Gallery, rng: np.random.Generator, plain: bool) -> _Made:
    """ "This image, but blue, without stripes"."""
    made = _but("colour")(about, gallery, rng, plain)
    pattern = str(gallery.attributes["pattern"][about])
    if made is None or pattern == "plain":
        return None
    parts, relevant, wished = made
    unwanted = Part("text", pattern, _negative(rng, plain))
    return (*parts, unwanted), relevant & (gallery.attributes["pattern"] != pattern), wished


def _worded_without(about: int, gallery: Gallery, rng: np.random.Generator, plain: bool) -> _Made:
    """ "A red mug", not striped."""
    values = gallery.attributes
    pattern, colour = str(values["pattern"][about]), str(values["colour"][about])
    if pattern == "plain":
        return None
    shape = str(values["shape"][about])
    relevant = (values["shape"] == shape) & (values["colour"] == colour) & (values["pattern"] != pattern)
    parts = Part("text", f"a {colour} {shape}"), Part("text", pattern, _negative(rng, plain))
    return parts, relevant, (colour,)


def _sounding(about: int, gallery: Gallery, rng: np.random.Generator, plain: bool) -> _Made:
    """ "Like this sound, as a picture": what rings alike is of the same material and shape."""
    values = gallery.attributes
    alike = [values[name] == values[name][about] for name in ("material", "shape")]
    source = "effect" if plain or rng.random() < 0.5 else "sound"
    return (Part("audio", source),), alike[0] & alike[1], ()


FAMILIES: dict[str, _Maker] = {
    "this image, but another colour": _but("colour"),
    "this image, but another material": _but("material"),
    "this image, but another pattern": _but("pattern"),
    "this image, but another colour and material": _but("colour", "material"),
    "this image, without its pattern": _without("pattern"),
    "this image, without its colour": _without("colour"),
    "this image, without its material": _without("material"),
    "this image, but another colour, without its pattern": _but_without,
    "a worded thing, without its pattern": _worded_without,
    "like this sound, as a picture": _sounding,
}


SHOWN = tuple(family for family in FAMILIES if family.startswith("this image"))
"""Families whose thing is told by a picture alone."""


def phrases(products: Sequence[Product]) -> list[str]:
    """Every text that a query about these products may hold."""
    found: dict[str, None] = {}
    for name in WORDS:
        for value in sorted({str(getattr(each, name)) for each in products}):
            for template in (*WORDS[name], *UNWANTED[name]):
                found[template.format(value)] = None
    for each in products:
        found[f"a {each.colour} {each.shape}"] = None
    pairs = {(a.colour, b.material) for a in products for b in products if a.shape == b.shape}
    found |= dict.fromkeys(f"{colour} {material}" for colour, material in sorted(pairs))
    return list(found)


def _worded(
    name: str, value: str, words: dict[str, tuple[str, ...]], rng: np.random.Generator, plain: bool
) -> str:
    templates = words[name]
    return (templates[0] if plain else templates[int(rng.integers(len(templates)))]).format(value)


def _negative(rng: np.random.Generator, plain: bool) -> float:
    return -1.0 if plain else float(NEGATIVE_WEIGHTS[int(rng.integers(len(NEGATIVE_WEIGHTS)))])


def _shown(rng: np.random.Generator, plain: bool) -> Part:
    return Part("image", "photograph" if plain or rng.random() < 0.7 else "picture")
