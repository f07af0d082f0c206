"""The four queries that are timed: a short text, a picture, 3 s of sound and a 5 s clip, from a catalogue."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from catalogue import ManifestItem, Split, read_manifest
from media import Kind, Limits, Modality, decode_audio, decode_image, sniff

__all__ = ["Payloads", "choose", "sounds"]

SOUND_S = 3.0
CLIP_S = 5.0
CLIP_FPS = 15
CLIP_PX = 320


@dataclass(frozen=True, slots=True)
class Payloads:
    """Queries as a user would send them: UTF-8 text and encoded files."""

    text: str
    image: bytes
    audio: bytes
    video: bytes

    def of(self, modality: Modality) -> bytes:
        content = {"text": self.text.encode(), "image": self.image, "audio": self.audio, "video": self.video}
        return content[modality.value]


def choose(manifest: Path, without: Split | None = None) -> Payloads:
    """The item with the median description, the first picture, sound and both put into one clip.

    Of all items, or of those that are not of the split ``without``.
    """
    items = [item for item in read_manifest(manifest) if without is None or item.split != without]
    limits = Limits()
    texts = sorted((item.description for item in items if item.description), key=len)
    image = first(items, Modality.IMAGE, limits)
    content = first(items, Modality.AUDIO, limits)
    sound = decode_audio(content, limits).samples
    return Payloads(
        text=texts[len(texts) // 2],
        image=image,
        audio=_three_seconds(content, limits),
        video=clip(decode_image(image, limits), np.resize(sound, int(CLIP_S * 16_000))),
    )


def sounds(manifest: Path, without: Split) -> list[bytes]:
    """3 s of each sound effect of the items that are not of the split ``without``."""
    items = [item for item in read_manifest(manifest) if item.split != without]
    contents = dict.fromkeys(path.read_bytes() for item in items for path in item.paths("effect"))
    return [_three_seconds(content, Limits()) for content in contents]


def _three_seconds(content: bytes, limits: Limits) -> bytes:
    """The sound repeated or cut, as Ogg Vorbis."""
    encoded = io.BytesIO()
    samples = np.resize(decode_audio(content, limits).samples, int(SOUND_S * 16_000))
    soundfile.write(encoded, samples, 16_000, format="OGG", subtype="VORBIS")
    return encoded.getvalue()


def first(items: Sequence[ManifestItem], modality: Modality, limits: Limits) -> bytes:
    for item in items:
        for path in item.paths():
            data = path.read_bytes()
            kind: Kind = sniff(data, limits)
            if kind.modality is modality and kind.format != "svg":
                return data
    raise LookupError(f"the catalogue has no {modality.value}")


def clip(rgb: NDArray[np.uint8], sound: NDArray[np.float32]) -> bytes:
    """An H.264/AAC MP4 of `CLIP_S` seconds that pans over the picture, with the sound."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=CLIP_FPS)
        stream.width = stream.height = CLIP_PX
        stream.pix_fmt = "yuv420p"
        track = container.add_stream("aac", rate=16_000, layout="mono")
        picture = av.VideoFrame.from_ndarray(rgb).reformat(width=CLIP_PX * 5 // 4, height=CLIP_PX)
        pixels = picture.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        count = int(CLIP_S * CLIP_FPS)
        for index in range(count):
            left = (CLIP_PX // 4) * index // count
            frame = np.ascontiguousarray(pixels[:, left : left + CLIP_PX])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        for start in range(0, len(sound) - 1024, 1024):
            block = av.AudioFrame.from_ndarray(
                sound[None, start : start + 1024], format="fltp", layout="mono"
            )
            block.sample_rate = 16_000
            block.pts = start
            container.mux(track.encode(block))
        container.mux(stream.encode(None))
        container.mux(track.encode(None))
    return out.getvalue()
