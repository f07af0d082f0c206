"""Build the generated catalogue: pictures, sounds, turning clips and a manifest that knows every attribute.

The same seed gives the same bytes with the same versions of Pillow, libsndfile and FFmpeg. File names carry
the recipe and the seed, so an interrupted run is continued and a changed recipe starts anew.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from catalogue.building import Step, prune, run_jobs, write_bytes
from catalogue.clips import CLIP_FPS, sound_track
from catalogue.impact import SAMPLE_RATE_HZ, knock
from catalogue.mp4 import SAMPLE_RATE_HZ as TRACK_RATE_HZ
from catalogue.mp4 import write_mp4
from catalogue.products import Product, product
from catalogue.rendering import Look, render

__all__ = ["CLIP_EVERY", "PICTURE_SIZE_PX", "generate", "make_media", "picture_png", "sound_flac"]

CLIP_EVERY = 5
"""Every fifth product has a clip: five shares no factor with the families of four."""
PICTURE_SIZE_PX = 320
_CLIP_SIZE_PX = 256
_RECIPE = "1"


def generate(items: int, seed: int, out: Path, processes: int, step: Step) -> dict[str, Any]:
    """Write `out`/manifest.jsonl, summary.json and media/; returns the summary. Raises GenerationError."""
    folder = out / "media"
    folder.mkdir(parents=True, exist_ok=True)
    products = [product(seed, index) for index in range(items)]
    names = {each.id: _names(each) for each in products}
    prune(folder, (name for files in names.values() for name in files.values()))
    missing = [
        each for each in products if not all((folder / name).exists() for name in names[each.id].values())
    ]
    run_jobs(
        "products", make_media, [(each, folder) for each in missing], items - len(missing), processes, step
    )
    lines = (json.dumps(_line(each, names[each.id]), ensure_ascii=False) + "\n" for each in products)
    write_bytes(out / "manifest.jsonl", "".join(lines).encode())
    summary = {
        "items": items,
        "seed": seed,
        "with_sound": items,
        "with_clip": sum("clip" in files for files in names.values()),
        "categories": dict(Counter(each.category for each in products).most_common()),
    }
    write_bytes(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def make_media(each: Product, folder: Path) -> None:
    """Picture, sound and, for every CLIP_EVERY-th product, clip; what is there already is kept."""
    names = _names(each)
    if not (folder / names["picture"]).exists():
        write_bytes(folder / names["picture"], picture_png(each))
    if not (folder / names["effect"]).exists():
        write_bytes(folder / names["effect"], sound_flac(each))
    if "clip" in names and not (folder / names["clip"]).exists():
        track = sound_track(folder / names["effect"])
        frames = _turning(each, round(len(track) / TRACK_RATE_HZ * CLIP_FPS))
        write_mp4(folder / names["clip"], frames, _CLIP_SIZE_PX, CLIP_FPS, track)


def _names(each: Product) -> dict[str, str]:
    stem = f"{each.id}-r{_RECIPE}"
    names = {"picture": f"{stem}.png", "effect": f"{stem}.flac"}
    if each.index % CLIP_EVERY == 0:
        names["clip"] = f"{stem}.mp4"
    return names


def picture_png(each: Product, oversample: int = 2) -> bytes:
    """The product's picture; drawn with `oversample` 1 its edges are rougher, and it takes a third of the
    time."""
    look, yaw = _look(each)
    buffer = io.BytesIO()
    pixels = render(look, yaw, PICTURE_SIZE_PX, oversample=oversample)
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def sound_flac(each: Product) -> bytes:
    """The sound of the product when it is knocked."""
    samples = knock(each.shape, each.material, each.size, each.random("sound"))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _turning(each: Product, count: int) -> Iterator[NDArray[np.uint8]]:
    """One whole turn."""
    look, yaw = _look(each)
    for index in range(count):
        yield render(look, yaw + 2 * math.pi * index / count, _CLIP_SIZE_PX)


def _look(each: Product) -> tuple[Look, float]:
    """What chance decides about the picture: the way it stands, its proportions, the backdrop."""
    random = each.random("look")
    yaw = float(random.uniform(0.35, 0.8)) * (-1.0 if random.uniform() < 0.5 else 1.0)
    tall = 1.0 if each.shape == "ball" else float(random.uniform(0.86, 1.0))
    backdrop = int(random.integers(1 << 30))
    return Look(each.shape, each.colour, each.material, each.pattern, each.size, backdrop, tall), yaw


def _line(each: Product, names: dict[str, str]) -> dict[str, Any]:
    media = [{"path": f"media/{names['picture']}"}, {"path": f"media/{names['effect']}", "role": "effect"}]
    if "clip" in names:
        media.append({"path": f"media/{names['clip']}", "role": "clip"})
    return {
        "id": each.id,
        "title": each.title,
        "description": each.description,
        "category": each.category,
        "tags": each.tags,
        "price": each.price,
        "available": each.available,
        "media": media,
        "attributes": {
            "shape": each.shape,
            "colour": each.colour,
            "material": each.material,
            "pattern": each.pattern,
            "size": each.size,
            "family": each.family,
        },
    }
