"""Everything composition is learned from, as vectors of the heads that are there.

The frozen encoders' outputs are kept below the cache, by the encoders' own weights; heads are cheap, so new
heads need nothing but this to be run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from catalogue.products import Product
from export.adapters import Heads, load_heads
from export.encoders import load_image, load_text
from export.profile import Profile
from export.reranker import KINDS, ROWS
from export.settings import Settings
from media import Limits, decode_audio, decode_image, image_input
from training.attend_asks import FAMILIES, Ask, Gallery, ask, is_held, phrases
from training.attend_products import encode_products, make_products, text_of
from training.attend_stamps import StampQueries, stamp_asks
from training.encoders import Encoders
from training.store import Arrays, FeatureStore, Progress

__all__ = ["Inputs", "World", "load_products", "load_stamps_world", "tensors"]

Floats = npt.NDArray[np.float32]
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""What `export.attention.Attention` takes."""
# Rasterising has a tight deadline where users wait; here a slow machine must not change what is learned.
LIMITS = Limits(svg_deadline_s=20.0)
NATIVE = 512


@dataclass(frozen=True)
class World:
    """A gallery and what is asked of it. ``sources`` holds unified vectors [n, 1024] of each gallery row as a
    query, ``natives`` [n, 512] those of the sounds among them; ``texts`` vectors [1024] by words."""

    gallery: Gallery
    asks: Sequence[Ask]
    sources: Mapping[str, Floats]
    natives: Mapping[str, Floats]
    texts: Mapping[str, Floats]


class Embedder:
    """Vectors of content by the frozen encoders and the heads of a profile."""

    def __init__(self, profile: Profile, settings: Settings, threads: int, progress: Progress) -> None:
        self.encoders = Encoders(profile, settings, threads)
        self.heads: Heads = load_heads(profile.name, settings.checkpoints)
        self.store = FeatureStore(settings.cache / "training", progress)
        digest = hashlib.sha256(profile.sources["moonshine"].sha256.encode())
        for module in (load_image(profile, settings), load_text(profile, settings)):
            for name, tensor in sorted(module.state_dict().items()):
                digest.update(name.encode() + tensor.numpy().tobytes())
        self.weights = digest.hexdigest()[:16]

    def texts(self, texts: Sequence[str]) -> Floats:
        """[n, 1024]"""
        pooled = self.store.get(
            "attend-texts",
            f"texts-1 {self.weights}",
            list(texts),
            lambda rows: {"pooled": self.encoders.text([texts[row] for row in rows])},
            chunk=512,
        )["pooled"].astype(np.float32)
        embedded: Floats = self.heads.text(torch.from_numpy(pooled)).numpy()
        return embedded

    def images(self, features: Floats, logits: Floats) -> Floats:
        """[n, 1024]"""
        embedded: Floats = self.heads.image(torch.from_numpy(features), torch.from_numpy(logits)).numpy()
        return embedded

    def sounds(self, pooled: Floats) -> tuple[Floats, Floats]:
        """[n, 1024] and [n, 512]"""
        unified, native = self.heads.audio(torch.from_numpy(pooled))
        return unified.numpy(), native.numpy()

    def image_files(self, name: str, paths: Sequence[Path]) -> Floats:
        """[n, 1024]"""

        def compute(rows: Sequence[int]) -> Arrays:
            pixels = np.stack([image_input(decode_image(paths[row].read_bytes(), LIMITS)) for row in rows])
            features, logits = self.encoders.image(pixels)
            return {"features": features.astype(np.float16), "logits": logits.astype(np.float16)}

        found = self._stored(name, "pictures", paths, compute, chunk=8)
        return self.images(found["features"], found["logits"])

    def sound_files(self, name: str, paths: Sequence[Path]) -> tuple[Floats, Floats]:
        """[n, 1024] and [n, 512], of whole files."""

        def compute(rows: Sequence[int]) -> Arrays:
            sounds = [decode_audio(paths[row].read_bytes(), LIMITS).samples for row in rows]
            return {"pooled": self.encoders.audio(sounds)}

        return self.sounds(self._stored(name, "sounds", paths, compute, chunk=16)["pooled"])

    def _stored(
        self,
        name: str,
        what: str,
        paths: Sequence[Path],
        compute: Callable[[Sequence[int]], Arrays],
        chunk: int,
    ) -> dict[str, Floats]:
        keys = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
        found = self.store.get(f"attend-{name}", f"{what}-1 {self.weights}", keys, compute, chunk)
        return {key: value.astype(np.float32) for key, value in found.items()}


def load_products(split: str, embedder: Embedder, cache: Path, progress: Progress) -> World:
    """Generated products. Those held out of training are in the validation gallery alone; its asks are fixed,
    those for training are made anew for every batch."""
    products = make_products(split, cache, progress)
    features = encode_products(products, embedder.encoders, embedder.weights, embedder.store, cache)
    rows = np.zeros((len(products), len(ROWS), 1024), np.float32)
    sound, sound_native = embedder.sounds(features.sound)
    effect, effect_native = embedder.sounds(features.effect)
    picture = embedder.images(*features.picture)
    rows[:, 0] = embedder.texts([text_of(each) for each in products])
    rows[:, 1], rows[:, 2] = picture, sound
    sources = {"picture": picture, "photograph": embedder.images(*features.photograph)}
    sources |= {"sound": sound, "effect": effect}
    natives = {"sound": sound_native, "effect": effect_native}
    if split == "train":
        kept = np.array([not is_held(each) for each in products])
        products = [each for each, keep in zip(products, kept, strict=True) if keep]
        rows, sound_native = rows[kept], sound_native[kept]
        sources = {name: values[kept] for name, values in sources.items()}
        natives = {name: values[kept] for name, values in natives.items()}
    said = phrases(products)
    gallery = Gallery(rows, sound_native, _attributes(products))
    asks = [] if split == "train" else _fixed(products, gallery)
    return World(gallery, asks, sources, natives, dict(zip(said, embedder.texts(said), strict=True)))


def load_stamps_world(split: str, embedder: Embedder, settings: Settings) -> World:
    """The stamps of a split and all queries of them."""
    queries = StampQueries(split, settings)
    stamps = queries.stamps
    rows = np.zeros((len(stamps), len(ROWS), 1024), np.float32)
    rows[:, 0] = embedder.texts([stamp.indexed for stamp in stamps])
    rows[:, 1] = embedder.image_files("stamps", [stamp.picture for stamp in stamps])
    native = np.zeros((len(stamps), NATIVE), np.float32)
    sounding = [number for number, stamp in enumerate(stamps) if stamp.effects]
    paths = [stamps[number].effects[0] for number in sounding]
    rows[sounding, 2], native[sounding] = embedder.sound_files("stamp-sounds", paths)
    places = {stamp.id: number for number, stamp in enumerate(stamps)}
    photographs, effects = np.zeros_like(rows[:, 0]), np.zeros_like(rows[:, 0])
    effect_native = np.zeros_like(native)
    photographs[[places[item] for item in queries.photographs]] = embedder.image_files(
        "photographs", list(queries.photographs.values())
    )
    heard = [places[item] for item in queries.effects]
    effects[heard], effect_native[heard] = embedder.sound_files("effects", list(queries.effects.values()))
    words = list(dict.fromkeys([*queries.words.values(), *(stamp.description for stamp in stamps)]))
    texts = dict(zip(words, embedder.texts(words), strict=True))
    asks = stamp_asks(queries, rows[:, 0], texts.__getitem__)
    gallery = Gallery(rows, native, {"meaning": queries.meanings})
    sources = {"photograph": photographs, "effect": effects}
    return World(gallery, asks, sources, {"effect": effect_native}, texts)


def tensors(world: World, asks: Sequence[Ask]) -> Inputs:
    """The inputs of the model, padded to the longest query."""
    size, longest = len(asks), max(len(each.parts) for each in asks)
    query = np.zeros((size, longest, 1024), np.float32)
    native = np.zeros((size, longest, NATIVE), np.float32)
    kind, weight = np.zeros((size, longest), np.int64), np.zeros((size, longest), np.float32)
    for number, each in enumerate(asks):
        for place, part in enumerate(each.parts):
            kind[number, place], weight[number, place] = KINDS.index(part.kind), part.weight
            if part.kind == "text":
                query[number, place] = world.texts[part.source]
            else:
                query[number, place] = world.sources[part.source][each.about]
            if part.kind == "audio":
                native[number, place] = world.natives[part.source][each.about]
    return torch.from_numpy(query), torch.from_numpy(native), torch.from_numpy(kind), torch.from_numpy(weight)


def _attributes(products: Sequence[Product]) -> dict[str, npt.NDArray[np.str_]]:
    names = ("shape", "colour", "material", "pattern")
    return {name: np.array([getattr(each, name) for each in products]) for name in names}


def _fixed(products: Sequence[Product], gallery: Gallery) -> list[Ask]:
    """Of every product one query of each family, as far as there is one."""
    found = []
    for family in FAMILIES:
        for about, each in enumerate(products):
            rng = np.random.default_rng([about, *family.encode()])
            one = ask(family, about, gallery, rng, f"{each.id}/{family}", plain=True)
            if one is not None:
                found.append(one)
    return found
