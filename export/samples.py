"""Real inputs to calibrate and measure with, read from a catalogue manifest.

Only items that training may see or select on are read: the stamps' test split never enters an export. Items
of a catalogue without splits (the generated one) are dealt by the hash of their description, six parts of
ten to ``train``, the rest to ``validation``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from export.errors import SamplesError
from export.profile import Inputs
from media import Limits, MediaError, Modality, decode_audio, decode_image, decode_video, sniff, token_bucket
from media.inputs import audio_input, image_input, video_input

__all__ = ["Feed", "Sample", "Samples", "find_manifest"]

Feed = dict[str, NDArray[Any]]
"""Input arrays of a graph by name, batch dimension in front."""


@dataclass(frozen=True)
class Sample:
    """One real input: the arrays of one row (batch 1) and what it shows, normalised."""

    meaning: str
    split: str
    feed: Feed


def find_manifest(home: Path) -> Path:
    """The stamps' manifest below ``home``, else the generated catalogue's.

    Raises:
        SamplesError: neither is there.
    """
    for name in ("stamps", "generated"):
        manifest = home.absolute() / "catalogues" / name / "manifest.jsonl"
        if manifest.is_file():
            return manifest
    raise SamplesError(
        "no catalogue to calibrate and measure with: run `make catalogue`, or name a --manifest"
    )


class Samples:
    """Decoded inputs of a catalogue, per graph, in an order that is fixed by the manifest's content."""

    def __init__(
        self,
        manifest: Path,
        tokenizer: Path,
        inputs: Inputs | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`inputs` are the sizes of pictures and clips; those of ``lite`` unless said otherwise."""
        self._manifest = manifest
        self._inputs = inputs or Inputs()
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._limits = limits or Limits()

    @cached_property
    def sha256(self) -> str:
        """Hash of the manifest, which names the inputs."""
        return hashlib.sha256(self._manifest.read_bytes()).hexdigest()

    @cached_property
    def _items(self) -> list[Mapping[str, Any]]:
        try:
            items = [
                json.loads(line) for line in self._manifest.read_text(encoding="utf-8").splitlines() if line
            ]
        except (OSError, json.JSONDecodeError) as error:
            raise SamplesError(f"{self._manifest}: {error}") from error
        for item in items:
            item.setdefault("split", _split(_meaning(item)))
        seen = [item for item in items if item["split"] in ("train", "validation")]
        # Spread categories evenly: the manifest is sorted, a prefix of it would be all animals.
        return sorted(seen, key=lambda item: hashlib.sha256(item["id"].encode()).digest())

    def take(self, graph: str, split: str, count: int) -> list[Sample]:
        """Up to ``count`` samples of a split for a graph; files that do not decode are passed over.

        Raises:
            SamplesError: fewer than 4 could be read.
        """
        samples = list(islice(self._read(graph, split), count))
        if len(samples) < 4:
            raise SamplesError(f"{self._manifest}: only {len(samples)} inputs for {graph} in split {split}")
        return samples

    def edge_cases(self, graph: str) -> list[Sample]:
        """Inputs that the catalogue has none of: a text of several windows, a video without sound."""
        if graph == "encode_text":
            words = " ".join(item.get("description") or item["title"] for item in self._items)
            return [Sample("", "", self.text(words[:3000]))]
        if graph == "encode_video":
            feed = self.take(graph, "validation", 4)[0].feed
            silent = {name: np.zeros_like(feed[name]) for name in ("samples", "mask")}
            return [Sample("", "", feed | silent)]
        return []

    def _read(self, graph: str, split: str) -> Iterator[Sample]:
        for item in self._items:
            if item["split"] != split:
                continue
            if graph == "encode_text":
                yield Sample(_meaning(item), split, self.text(item.get("description") or item["title"]))
                continue
            for entry in _files(item, graph):
                feed = self.decode(graph, self._manifest.parent / entry["path"])
                if feed is not None:
                    yield Sample(_meaning(item), split, feed)
                    if graph != "encode_audio":
                        break

    def text(self, text: str) -> Feed:
        """Token row of a text, padded to its bucket: INT64 [1, L] twice."""
        ids = self._tokenizer.encode(text).ids
        row = np.zeros((2, 1, token_bucket(len(ids))), dtype=np.int64)
        row[0, 0, : len(ids)] = ids
        row[1, 0, : len(ids)] = 1
        return {"input_ids": row[0], "attention_mask": row[1]}

    def decode(self, graph: str, path: Path) -> Feed | None:
        """The arrays of one file; None where it is none that the graph reads, or cannot be read."""
        wanted = {
            "encode_image": Modality.IMAGE,
            "encode_audio": Modality.AUDIO,
            "encode_video": Modality.VIDEO,
        }
        try:
            data = path.read_bytes()
            kind = sniff(data, self._limits)
            if kind.modality is not wanted[graph]:
                return None
            if kind.modality is Modality.IMAGE:
                pixels = image_input(decode_image(data, self._limits, kind), self._inputs.side_px)
                return {"pixels": pixels[None]}
            if kind.modality is Modality.AUDIO:
                samples, mask = audio_input(decode_audio(data, self._limits, kind).samples)
                return {"samples": samples[None], "mask": mask[None]}
            video = decode_video(data, self._limits, kind, frames=self._inputs.frames)
            frames, samples, mask = video_input(video, self._inputs.frames, self._inputs.side_px)
            return {"frames": frames[None], "samples": samples[None], "mask": mask[None]}
        except (MediaError, OSError):
            return None


def _files(item: Mapping[str, Any], graph: str) -> list[Mapping[str, Any]]:
    """Media files of an item; for sounds also its English spoken description, which texts can find."""
    files = [entry for entry in item.get("media", ()) if "path" in entry]
    if graph == "encode_audio":
        files += [entry for entry in item.get("queries", ()) if entry.get("language") == "en"]
    return files


def _meaning(item: Mapping[str, Any]) -> str:
    """What two items must share to be relevant to each other: the description without case, marks and
    article."""
    text = (item.get("description") or item.get("title") or item["id"]).lower()
    words = "".join(c if c.isascii() and c.isalnum() else " " if c.isspace() else "" for c in text).split()
    return " ".join(words[1:] if words and words[0] in ("a", "an", "the", "some") else words)


def _split(meaning: str) -> str:
    return (
        "train"
        if int(hashlib.sha1(meaning.encode(), usedforsecurity=False).hexdigest(), 16) % 10 < 6
        else "validation"
    )
