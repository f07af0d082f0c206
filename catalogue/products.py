"""What the generated products are: attributes, price, words. Drawing and sound are made elsewhere.

Products come in families of four: a base, the same in another colour, in another material, and with another
pattern or size. So a query such as "this one, but blue" has an answer and near misses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalogue.rendering import COLOURS, PATTERNS, SIZES
from catalogue.solids import SHAPES

__all__ = ["FAMILY_SIZE", "MADE_OF", "Product", "product"]

FAMILY_SIZE = 4

MADE_OF: dict[str, tuple[str, ...]] = {
    "ball": ("plastic", "wood", "felt", "metal", "glass"),
    "bell": ("metal", "ceramic", "glass"),
    "bottle": ("glass", "plastic", "metal", "ceramic"),
    "bowl": ("ceramic", "wood", "glass", "metal", "plastic"),
    "box": ("wood", "metal", "plastic", "felt"),
    "chair": ("wood", "plastic", "metal"),
    "drum": ("wood", "metal", "plastic"),
    "lamp": ("ceramic", "metal", "glass", "felt"),
    "mug": ("ceramic", "metal", "glass", "plastic"),
    "stool": ("wood", "metal", "plastic"),
    "teapot": ("ceramic", "metal", "glass"),
    "vase": ("ceramic", "glass", "metal", "wood"),
}
_CATEGORY = {
    "ball": "toys",
    "bell": "instruments",
    "bottle": "kitchen",
    "bowl": "kitchen",
    "box": "storage",
    "chair": "furniture",
    "drum": "instruments",
    "lamp": "lighting",
    "mug": "kitchen",
    "stool": "furniture",
    "teapot": "kitchen",
    "vase": "decoration",
}
_BASE_PRICE = {
    "ball": 9,
    "bell": 24,
    "bottle": 14,
    "bowl": 18,
    "box": 28,
    "chair": 95,
    "drum": 75,
    "lamp": 49,
    "mug": 11,
    "stool": 55,
    "teapot": 34,
    "vase": 39,
}
_DEAR = {"ceramic": 1.1, "felt": 0.9, "glass": 1.2, "metal": 1.35, "plastic": 0.6, "wood": 1.25}
_BULK = {"small": 0.7, "medium": 1.0, "large": 1.5}
_USES = {
    "ball": ("for the garden or the playroom", "that rolls and bounces", "for games of catch"),
    "bell": ("to call everyone to the table", "with a clear voice", "for the front door or the school yard"),
    "bottle": ("with a stopper that keeps tight", "for oil, water or juice", "for the kitchen shelf"),
    "bowl": ("for soup, salad or fruit", "for the breakfast table", "deep enough for a good helping"),
    "box": ("with a lid and a knob", "for letters, tea or toys", "to keep small things together"),
    "chair": ("with a straight back and four legs", "for the dining table", "for a desk or a balcony"),
    "drum": ("with a taut skin", "for beginners and small hands", "for marching and for the band room"),
    "lamp": ("for the bedside or the desk", "with a wide shade", "for a warm light in the evening"),
    "mug": ("for coffee, tea or cocoa", "with a handle for a whole hand", "for the office or the camp fire"),
    "stool": (
        "with three legs and a round seat",
        "for the kitchen counter",
        "to sit on or to reach the shelf",
    ),
    "teapot": ("with a spout that does not drip", "for four cups of tea", "with a lid and a curved handle"),
    "vase": ("for a bunch of flowers", "with a narrow neck", "for the window sill or the hall"),
}
_FEELS = {
    "ceramic": ("glazed", "fired twice and glazed", "smooth and glossy"),
    "felt": ("soft to the touch", "pressed from wool", "matt and warm"),
    "glass": ("clear enough to see through", "blown in one piece", "light and see-through"),
    "metal": ("polished to a shine", "sturdy and bright", "spun from sheet and polished"),
    "plastic": ("light and hard to break", "easy to wipe clean", "moulded in one piece"),
    "wood": ("turned by hand", "with the grain showing", "oiled and sanded"),
}


@dataclass(frozen=True)
class Product:
    """The known attributes of one product; `index` is its place in the catalogue of `seed`."""

    seed: int
    index: int
    shape: str
    colour: str
    material: str
    pattern: str
    size: str

    @property
    def id(self) -> str:
        return f"product-{self.seed}-{self.index:05d}"

    @property
    def family(self) -> int:
        return self.index // FAMILY_SIZE

    @property
    def category(self) -> str:
        return _CATEGORY[self.shape]

    @property
    def tags(self) -> tuple[str, ...]:
        return (self.shape, self.colour, self.material, self.pattern, self.size)

    @property
    def title(self) -> str:
        return self._name().capitalize()

    @property
    def price(self) -> float:
        wobble = float(self.random("price").uniform(0.85, 1.2))
        whole = math.floor(_BASE_PRICE[self.shape] * _DEAR[self.material] * _BULK[self.size] * wobble)
        return max(whole, 1) + (0.5, 0.9, 0.95)[self.index % 3]

    @property
    def available(self) -> bool:
        return bool(self.random("available").uniform() < 0.85)

    @property
    def description(self) -> str:
        """Two sentences; the wording varies, the facts do not."""
        random = self.random("words")

        def pick(choices: Sequence[str]) -> str:
            return choices[int(random.integers(len(choices)))]

        use, feel = pick(_USES[self.shape]), pick(_FEELS[self.material])
        name = self._name()
        kind = f"{self.size} {self.shape}"
        decor = "in plain" if self.pattern == "plain" else f"{self.pattern} in"
        return pick(
            (
                f"{_article(self.size)} {self.size} {name} {use}. It is {feel}.",
                f"{_article(name)} {name} {use}, {feel}. The size is {self.size}.",
                f"This {kind} is made of {self.material}, {feel}, {decor} {self.colour}. It is one {use}.",
                f"{_article(self.material)} {self.material} {self.shape} {use}. "
                f"{self.size.capitalize()}, {decor} {self.colour}, {feel}.",
                f"{self.colour.capitalize()} {self.material}, {feel}: {_article(kind).lower()} {kind} {use}"
                f"{'' if self.pattern == 'plain' else f', {self.pattern} all over'}.",
            )
        )

    def random(self, purpose: str) -> np.random.Generator:
        """Chance that depends on seed, index and purpose alone, not on what was drawn before."""
        return np.random.default_rng([self.seed, self.index, *purpose.encode()])

    def _name(self) -> str:
        pattern = "" if self.pattern == "plain" else f"{self.pattern} "
        return f"{pattern}{self.colour} {self.material} {self.shape}"


def product(seed: int, index: int) -> Product:
    """The product at `index` of the endless catalogue of `seed`; a longer one begins with a shorter."""
    family, member = divmod(index, FAMILY_SIZE)
    shape = _dealt(SHAPES, family, seed, "shape")
    made_of = MADE_OF[shape]
    base = Product(
        seed=seed,
        index=index,
        shape=shape,
        colour=_dealt(tuple(COLOURS), family, seed, "colour"),
        # Every shape goes through its materials in turn.
        material=made_of[(family // len(SHAPES)) % len(made_of)],
        pattern=_dealt(PATTERNS, family, seed, "pattern"),
        size=_dealt(tuple(SIZES), family, seed, "size"),
    )
    random = np.random.default_rng([seed, family])
    if member == 1:
        return replace(base, colour=_another(tuple(COLOURS), base.colour, random))
    if member == 2:
        return replace(base, material=_another(made_of, base.material, random))
    if member == 3 and family % 2:
        return replace(base, size=_another(tuple(SIZES), base.size, random))
    if member == 3:
        return replace(base, pattern=_another(PATTERNS, base.pattern, random))
    return base


def _dealt(values: Sequence[str], turn: int, seed: int, name: str) -> str:
    """Deal values like cards: all of them once, in a new order each round."""
    round_number, place = divmod(turn, len(values))
    order = np.random.default_rng([seed, round_number, *name.encode()]).permutation(len(values))
    return values[int(order[place])]


def _another(values: Sequence[str], than: str, random: np.random.Generator) -> str:
    others = [value for value in values if value != than]
    return others[int(random.integers(len(others)))]


def _article(words: str) -> str:
    return "An" if words[0] in "aeiou" else "A"
