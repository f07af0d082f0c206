"""What the Triton client sends and expects is what the public models' config.pbtxt declare."""

import dataclasses
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from media import Modality
from orchestrator.clients.triton import EMBED_MODELS, RERANK_MODEL, TRANSCRIBE_MODEL
from orchestrator.types import NATIVE_DIM, UNIFIED_DIM, RerankInputs

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
Tensors = dict[str, tuple[str, list[int]]]


def declared(model: str) -> tuple[Tensors, Tensors, model_config_pb2.ModelConfig]:
    config = text_format.Parse(
        (REPOSITORY / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
    )
    inputs, outputs = (
        {t.name: (model_config_pb2.DataType.Name(t.data_type), list(t.dims)) for t in tensors}
        for tensors in (config.input, config.output)
    )
    return inputs, outputs, config


@pytest.mark.parametrize("modality", Modality)
def test_an_embedding_model(modality: Modality) -> None:
    inputs, outputs, config = declared(EMBED_MODELS[modality])
    assert inputs == {modality.value: ("TYPE_STRING", [1])}
    wanted: Tensors = {"embedding": ("TYPE_FP32", [UNIFIED_DIM])}
    if modality in NATIVE_DIM:
        wanted["native"] = ("TYPE_FP32", [NATIVE_DIM[modality]])
    assert outputs == wanted
    # The client sends a batch dimension, so the model must take one.
    assert config.max_batch_size > 0


def test_the_transcription_model() -> None:
    inputs, outputs, config = declared(TRANSCRIBE_MODEL)
    assert inputs == {"audio": ("TYPE_STRING", [1]), "phrases": ("TYPE_STRING", [1])}
    assert outputs == {"text": ("TYPE_STRING", [1]), "score": ("TYPE_FP32", [1])}
    assert config.max_batch_size > 0
    assert [tensor.optional for tensor in config.input] == [False, True]


def test_the_re_ranker() -> None:
    inputs, outputs, config = declared(RERANK_MODEL)
    candidates = vectors = -1
    assert inputs == {
        "query": ("TYPE_FP32", [vectors, UNIFIED_DIM]),
        "query_kind": ("TYPE_INT64", [vectors]),
        "query_weight": ("TYPE_FP32", [vectors]),
        "rows": ("TYPE_FP32", [candidates, len(Modality), UNIFIED_DIM]),
        "evidence": ("TYPE_FP32", [candidates, vectors, len(Modality)]),
        "fused": ("TYPE_FP32", [candidates]),
    }
    assert list(inputs) == [field.name for field in dataclasses.fields(RerankInputs)]
    assert outputs == {"score": ("TYPE_FP32", [candidates])}
    assert config.max_batch_size > 0
