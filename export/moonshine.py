"""Weights of the Moonshine speech encoder out of its ONNX Runtime flatbuffer (``encoder_model.ort``).

The wheel carries the encoder only in ONNX Runtime's own format, its linear layers quantised to uint8 (one
scale and zero point a matrix), its convolutions and norms in FP32. The node names still follow the torch
modules, so every tensor can be given back its name; matrices are dequantised, W = (q - zero_point) * scale,
which is exactly the weight the quantised graph multiplies with.

Format: onnxruntime/core/flatbuffers/schema/ort.fbs. Model: Jeffries et al., "Moonshine: Speech Recognition
for Live Transcription and Voice Commands", arXiv:2410.15608.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

from export.errors import WeightsError

__all__ = ["read_encoder_weights"]

_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    7: np.dtype("<i8"),
}
_GROUP_NORM = {"/groupnorm/Mul": "groupnorm.weight", "/groupnorm/Add": "groupnorm.bias"}


def read_encoder_weights(path: Path) -> dict[str, torch.Tensor]:
    """State dict of transformers' ``MoonshineEncoder``, all FP32, from an ``.ort`` file.

    Raises:
        WeightsError: the file is not an ONNX Runtime model or its nodes are named otherwise.
    """
    data = path.read_bytes()
    if data[4:8] != b"ORTM":
        raise WeightsError(f"{path.name} is not an ONNX Runtime format model")
    graph = InferenceSession.GetRootAsInferenceSession(data, 0).Model().Graph()
    tensors = dict(_initializer(graph.Initializers(i)) for i in range(graph.InitializersLength()))
    weights: dict[str, NDArray[Any]] = {}
    for name, value in tensors.items():
        # "layers.0.mlp.fc1.bias", "layer_norm.weight", "conv1.weight_add_tensor" kept their names
        plain = name.removesuffix("_add_tensor")
        if plain.endswith((".weight", ".bias")) and "/" not in plain and "::" not in plain:
            weights[plain] = value
    for i in range(graph.NodesLength()):
        node = graph.Nodes(i)
        name = node.Name().decode()
        inputs = [node.Inputs(k).decode() for k in range(node.InputsLength())]
        if name.endswith("/MatMul_quant"):
            key = name.removeprefix("/").removesuffix("/MatMul_quant").replace("/", ".") + ".weight"
            weights[key] = _dequantise(tensors, inputs[1])
        elif name in _GROUP_NORM:
            weights[_GROUP_NORM[name]] = tensors[inputs[1]].reshape(-1)
    if not weights:
        raise WeightsError(f"{path.name} holds no weight under a known name")
    return {key: torch.from_numpy(np.array(value, dtype=np.float32)) for key, value in weights.items()}


def _initializer(tensor: Any) -> tuple[str, NDArray[Any]]:
    name = tensor.Name().decode()
    dtype = _DTYPES.get(tensor.DataType())
    if dtype is None or tensor.RawDataLength() == 0:
        raise WeightsError(f"initialiser {name} has an unknown layout (type {tensor.DataType()})")
    shape = [tensor.Dims(k) for k in range(tensor.DimsLength())]
    values: NDArray[Any] = np.frombuffer(tensor.RawDataAsNumpy().tobytes(), dtype=dtype)
    return name, values.reshape(shape)


def _dequantise(tensors: dict[str, NDArray[Any]], quantised: str) -> NDArray[np.float32]:
    stem = quantised.removesuffix("_quantized")
    try:
        matrix, scale, zero = (tensors[stem + end] for end in ("_quantized", "_scale", "_zero_point"))
    except KeyError as error:
        raise WeightsError(f"{quantised} has no {error}") from error
    # MatMul computes x @ W, torch's Linear x @ W.T
    return np.ascontiguousarray(((matrix.astype(np.float32) - zero.astype(np.float32)) * scale).T)
