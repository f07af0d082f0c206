"""A stored picture as RGBA, transparency kept, for drawing clips with it.

Search itself reads pictures through `media`, which lays them over white; a clip needs the transparency, to
put the thing over other backgrounds.
"""

from __future__ import annotations

import io
from pathlib import Path

import resvg_py
from PIL import Image

from catalogue.errors import GenerationError

__all__ = ["load_rgba", "svg_to_png"]

# SVG lengths in points have no size in pixels without it; CSS says 96.
_DPI = 96.0


def load_rgba(path: Path, side_px: int) -> Image.Image:
    """The picture, cropped to what is visible and scaled so that its longer side is `side_px`.

    Raises GenerationError when it cannot be read or shows nothing.
    """
    try:
        image = _rasterise(path, side_px) if path.suffix == ".svg" else Image.open(path)
        image = image.convert("RGBA")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise GenerationError(f"{path.name}: {error}") from error
    box = image.getchannel("A").getbbox()
    if box is None:
        raise GenerationError(f"{path.name} shows nothing")
    image = image.crop(box)
    scale = side_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def svg_to_png(path: Path, side_px: int) -> bytes:
    """The drawing as a PNG whose longer side is `side_px`; files it names are not looked at.

    Raises GenerationError.
    """
    buffer = io.BytesIO()
    load_rgba(path, side_px).save(buffer, "PNG")
    return buffer.getvalue()


def _rasterise(path: Path, side_px: int) -> Image.Image:
    natural = _render(path, None)
    box = natural.getchannel("A").getbbox()
    visible = max(box[2] - box[0], box[3] - box[1]) if box else max(natural.size)
    # Small drawings are drawn larger rather than enlarged; the bound keeps specks on huge pages small.
    zoom = min(side_px / visible, 8.0)
    return _render(path, zoom) if zoom > 1.0 else natural


def _render(path: Path, zoom: float | None) -> Image.Image:
    # The text, not the path: without a place of its own the drawing cannot name its neighbours.
    text = path.read_text(encoding="utf-8")
    png = resvg_py.svg_to_bytes(svg_string=text, dpi=_DPI, zoom=zoom)
    image = Image.open(io.BytesIO(bytes(png)))
    return image.convert("RGBA")
