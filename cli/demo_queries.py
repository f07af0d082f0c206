"""The demo's sample queries: one per modality and a mixed one, made from the catalogue, never copies of it.

The picture is turned and re-compressed, the sound made quieter and re-encoded, the clip cut short, so that
what is found is found by content. Each query names the item that it was made from.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import soundfile
from PIL import Image

from catalogue import ManifestItem
from media import Limits, Modality, decode_audio, decode_image, segments, sniff
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["DemoQuery", "demo_queries"]

RATE_HZ = 16_000
CLIP_CUT_S = 2.0


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A request, what it shows, and the item that the answer must hold."""

    title: str
    request: pb.SearchRequest
    expected: str


def demo_queries(items: Sequence[ManifestItem]) -> Iterator[DemoQuery]:
    """Text, image, audio, video, and text with an image. Raises LookupError when a modality is not there."""
    limits = Limits()
    described = [item for item in items if len(item.description.split()) >= 4]
    by_text = described[len(described) // 2]
    yield query("text", by_text, pb.QueryPart(text=shortened(by_text.description)))

    by_image, picture = with_media(items, Modality.IMAGE, limits, start=len(items) // 3)
    yield query("image", by_image, pb.QueryPart(data=photographed(decode_image(picture, limits))))

    by_audio, sound = with_media(items, Modality.AUDIO, limits, start=len(items) // 2)
    yield query("audio", by_audio, pb.QueryPart(data=replayed(decode_audio(sound, limits).samples)))

    by_video, video = with_media(items, Modality.VIDEO, limits, start=0)
    yield query("video", by_video, pb.QueryPart(data=cut(video, limits)))

    mixed, picture = with_media(described, Modality.IMAGE, limits, start=len(described) // 4)
    yield query(
        "text + image",
        mixed,
        pb.QueryPart(text=shortened(mixed.description)),
        pb.QueryPart(data=photographed(decode_image(picture, limits))),
    )


def query(kind: str, item: ManifestItem, *parts: pb.QueryPart) -> DemoQuery:
    words = next((f' "{part.text}"' for part in parts if part.text), "")
    title = f"{kind}{words}: made from {item.id}"
    return DemoQuery(title, pb.SearchRequest(parts=parts, limit=5), item.id)


def with_media(
    items: Sequence[ManifestItem], modality: Modality, limits: Limits, start: int
) -> tuple[ManifestItem, bytes]:
    """The first item from `start` on (then from the beginning) that carries the modality, and its file."""
    for item in [*items[start:], *items[:start]]:
        for path in item.paths():
            data = path.read_bytes()
            if sniff(data, limits).modality is modality:
                return item, data
    raise LookupError(f"no item of the catalogue carries {modality.value}")


def shortened(description: str) -> str:
    """Without the leading article and the last full stop: what a user would type."""
    return re.sub(r"^(a|an|the|some)\s+", "", description.strip().rstrip("."), flags=re.IGNORECASE).lower()


def photographed(rgb: np.ndarray) -> bytes:
    """Turned by some degrees on a grey ground and compressed, as JPEG."""
    image = Image.fromarray(rgb)
    image.thumbnail((512, 512))
    turned = image.rotate(6, expand=True, fillcolor=(235, 235, 235), resample=Image.Resampling.BICUBIC)
    out = io.BytesIO()
    turned.save(out, "JPEG", quality=80)
    return out.getvalue()


def replayed(samples: np.ndarray) -> bytes:
    """Quieter, with a little noise, as OGG Vorbis."""
    noise = np.random.default_rng(0).normal(0.0, 0.002, len(samples))
    out = io.BytesIO()
    soundfile.write(out, (0.7 * samples + noise).astype(np.float32), RATE_HZ, format="OGG", subtype="VORBIS")
    return out.getvalue()


def cut(video: bytes, limits: Limits) -> bytes:
    """Its first `CLIP_CUT_S` seconds, encoded anew."""
    kind = sniff(video, limits)
    short = replace(limits, segment_video_s=CLIP_CUT_S, segment_video_overlap_s=CLIP_CUT_S / 4)
    return next(iter(segments(video, kind, short))).data
