"""The frozen encoders as functions on batches of real content, as fast as this machine has them.

Pictures and sounds run through ONNX Runtime, about three times faster than torch on a CPU; the graphs hold
exactly the modules that `export` fuses the heads behind.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from tokenizers import Tokenizer
from torch import nn

from export.efficientnet import FIRST_TUNED, EfficientNetLite2
from export.encoders import load_audio, load_image, load_published, load_text, network_input
from export.fetch import file_sha256, source_files
from export.profile import Profile
from export.settings import Settings
from media.inputs import audio_input

__all__ = ["Encoders"]

Floats = npt.NDArray[np.float32]
MAX_TOKENS = 512


class _Front(nn.Module):
    def __init__(self, network: EfficientNetLite2) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        front = self.network.front(network_input(pixels), FIRST_TUNED)
        return front, self.network.back(front, FIRST_TUNED)[1]


class Encoders:
    """All encoders of a profile; each is loaded when it is first used."""

    def __init__(self, profile: Profile, settings: Settings, threads: int) -> None:
        self._profile, self._settings, self._threads = profile, settings, threads
        self._image: onnxruntime.InferenceSession | None = None
        self._fronts: dict[int, onnxruntime.InferenceSession] = {}
        self._audio: onnxruntime.InferenceSession | None = None
        self._text: tuple[Tokenizer, nn.Module] | None = None

    def image(self, pixels: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """uint8 [B, 260, 260, 3] -> features [B, 1280], logits [B, 1000]."""
        if self._image is None:
            example = (torch.zeros(2, *pixels.shape[1:], dtype=torch.uint8),)
            self._image = self._session(load_image(self._profile, self._settings), example, ["pixels"])
        features, logits = self._image.run(None, {"pixels": pixels})
        return features, logits

    def image_state(self) -> str:
        """Names the image encoder's fine-tuned weights; empty where there are none."""
        return self._state("efficientnet")

    def text_state(self) -> str:
        """Names the text encoder's fine-tuned weights; empty where there are none."""
        return self._state("minilm")

    def classifier(self) -> tuple[Floats, Floats]:
        """The image encoder's class rows [1000, 1280] and their biases [1000]."""
        layer = load_image(self._profile, self._settings).network._fc
        return layer.weight.detach().numpy(), layer.bias.detach().numpy()

    def front(self, pixels: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """uint8 [B, side, side, 3] -> what block FIRST_TUNED of the published encoder reads [B, C, H, W],
        and its ImageNet logits [B, 1000]."""
        side = pixels.shape[1]
        if side not in self._fronts:
            example = (torch.zeros(2, *pixels.shape[1:], dtype=torch.uint8),)
            network = load_published(self._profile, self._settings)
            self._fronts[side] = self._session(_Front(network), example, ["pixels"])
        front, logits = self._fronts[side].run(None, {"pixels": pixels})
        return front, logits

    def audio(self, sounds: Sequence[Floats]) -> Floats:
        """16 kHz mono sounds -> pooled [B, 576]; one run for each length of `media.inputs.audio_input`."""
        if self._audio is None:
            example = (torch.zeros(2, 16_000), torch.ones(2, 16_000, dtype=torch.int64))
            self._audio = self._session(
                load_audio(self._profile, self._settings), example, ["samples", "mask"]
            )
        prepared = [audio_input(sound) for sound in sounds]
        out = np.zeros((len(sounds), 576), np.float32)
        for length in sorted({samples.size for samples, _ in prepared}):
            rows = [row for row, (samples, _) in enumerate(prepared) if samples.size == length]
            samples = np.stack([prepared[row][0] for row in rows])
            mask = np.stack([prepared[row][1] for row in rows])
            out[rows] = self._audio.run(None, {"samples": samples, "mask": mask})[0]
        return out

    def text(self, texts: Sequence[str], batch: int = 64) -> Floats:
        """Texts -> unit-norm pooled vectors [B, 384]; at most 512 tokens of each are read."""
        if self._text is None:
            files = source_files(self._profile, "minilm", self._settings)
            tokenizer = Tokenizer.from_file(str(files["tokenizer"]))
            tokenizer.enable_truncation(MAX_TOKENS)
            tokenizer.enable_padding()
            self._text = tokenizer, load_text(self._profile, self._settings)
        tokenizer, encoder = self._text
        out = np.zeros((len(texts), 384), np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            encoded = tokenizer.encode_batch([texts[row] for row in rows])
            ids = torch.tensor([item.ids for item in encoded])
            mask = torch.tensor([item.attention_mask for item in encoded])
            with torch.inference_mode():
                pooled = nn.functional.normalize(encoder(ids, mask), dim=-1)
            out[rows] = pooled.numpy()
        return out

    def _state(self, source: str) -> str:
        tuned = self._profile.tuned.get(source)
        return file_sha256(self._settings.checkpoints / self._profile.name / tuned)[:16] if tuned else ""

    def _session(
        self, module: nn.Module, example: tuple[torch.Tensor, ...], names: list[str]
    ) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        axes = {name: dict(enumerate(f"{name}_{axis}" for axis in range(2))) for name in names}
        if names == ["pixels"]:
            axes = {"pixels": {0: "batch"}}
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every shape it follows
            path = Path(folder) / "encoder.onnx"
            torch.onnx.export(
                module, example, path, input_names=names, dynamic_axes=axes, opset_version=17, dynamo=False
            )
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
