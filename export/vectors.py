"""What exported encoders give for catalogue items: models on embeddings are held and calibrated on it.

Random encoders give nearly one vector for whatever they read, so a list of such candidates would measure
rounding and nothing else. A model on embeddings with random weights reads the vectors of ``lite`` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.calibration import calibration_of
from export.errors import ExportError
from export.profile import DEFAULT, Profile, load_profile
from export.samples import Sample, Samples
from export.sessions import open_session, run_all
from export.settings import Settings
from export.sources import file_of

__all__ = ["Take", "Vectors", "samples_of", "vectors_of"]

TEXTS, PICTURES, BATCH = 240, 120, 8
Floats = NDArray[np.float32]
Take = Callable[[str, str, int], list[Sample]]
"""Graph, split and number -> inputs."""


@dataclass(frozen=True)
class Vectors:
    """Of one split, by the FP32 graphs of ``profile``; nothing is computed before it is asked for."""

    profile: Profile
    settings: Settings
    take: Take
    split: str

    @cached_property
    def gallery(self) -> tuple[Floats, Floats, list[str]]:
        """Text and picture vectors [n, 1024] of the items that have both, and what each means.

        Raises:
            ExportError: an encoder is not exported yet.
        """
        texts, said = self._embed("encode_text", TEXTS)
        pictures, shown = self._embed("encode_image", PICTURES)
        place = {meaning: row for row, meaning in enumerate(said)}
        rows = [row for row, meaning in enumerate(shown) if meaning in place]
        return texts[[place[shown[row]] for row in rows]], pictures[rows], [shown[row] for row in rows]

    @cached_property
    def calibration(self) -> dict[str, dict[str, float]]:
        """What their similarities are worth: scale and bias of the logistic of each pair."""
        return calibration_of(self.profile, self.settings)

    def _embed(self, model: str, count: int) -> tuple[Floats, list[str]]:
        graph = self.settings.work(self.profile.label) / model / "fp32.onnx"
        if not graph.is_file():
            raise ExportError(
                f"{model}: step onnx comes first; run `python -m export onnx --profile {self.profile.name}`"
            )
        samples = self.take(model, self.split, count)
        session = open_session(graph, self.profile.gate.threads)
        return run_all(session, samples, BATCH)["embedding"], [sample.meaning for sample in samples]


def samples_of(profile: Profile, settings: Settings, manifest: Path) -> Samples:
    """Real inputs of the catalogue, as the profile's decoders give them."""
    tokenizer = file_of(profile, profile.files["decode_text"]["tokenizer.json"], settings)
    return Samples(manifest, tokenizer, profile.inputs)


def vectors_of(profile: Profile, settings: Settings, manifest: Path, take: Take, split: str) -> Vectors:
    """What models on embeddings of ``profile`` read; ``take`` gives the inputs of its own encoders."""
    if not profile.origin.is_random:
        return Vectors(profile, settings, take, split)
    lite = load_profile(DEFAULT)
    return Vectors(lite, settings, lambda *asked: samples_of(lite, settings, manifest).take(*asked), split)
