"""Requests to Triton, and what it counted."""

from __future__ import annotations

import grpc
import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, service_pb2, service_pb2_grpc

from benchmarks.candidates import candidates
from benchmarks.load import Sample, run_load

__all__ = ["INFER", "batch_formed", "burst", "infer_request", "rerank_request"]

INFER = "/inference.GRPCInferenceService/ModelInfer"
CALL_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 120.0


def infer_request(modality: str, payload: bytes) -> service_pb2.ModelInferRequest:
    """One encoded input for `embed_<modality>`: BYTES [1, 1], outputs raw."""
    tensor = InferInput(modality, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[payload]], dtype=np.object_))
    request = service_pb2.ModelInferRequest(model_name=f"embed_{modality}")
    request.inputs.append(tensor._get_tensor())
    request.raw_input_contents.append(tensor._get_content())
    return request


def rerank_request() -> service_pb2.ModelInferRequest:
    """One query with its candidates for `rerank`."""
    request = service_pb2.ModelInferRequest(model_name="rerank")
    for name, array in candidates(1).items():
        tensor = InferInput(name, list(array.shape), "INT64" if array.dtype == np.int64 else "FP32")
        tensor.set_data_from_numpy(array)
        request.inputs.append(tensor._get_tensor())
        request.raw_input_contents.append(tensor._get_content())
    return request


def burst(url: str, request: service_pb2.ModelInferRequest, concurrency: int, seconds: int) -> Sample:
    """Load on a model, and then its queue run empty, so that the next burst finds a free machine.

    Raises LoadError.
    """
    sample = run_load(url, INFER, request, concurrency, seconds)
    with grpc.insecure_channel(url, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(request, timeout=DRAIN_TIMEOUT_S)
    return sample


def batch_formed(url: str, modality: str, payload: bytes, concurrency: int, seconds: int) -> float:
    """Mean batch of the encoder under load, inference_count / exec_count: of `encode_<modality>`, or of
    `embed_<modality>` where that is no ensemble."""
    with InferenceServerClient(url) as client:
        config = client.get_model_config(f"embed_{modality}", client_timeout=CALL_TIMEOUT_S).config
    encoder = f"encode_{modality}" if config.platform == "ensemble" else config.name
    before = counts(url, encoder)
    burst(url, infer_request(modality, payload), concurrency, seconds)
    after = counts(url, encoder)
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def counts(url: str, model: str) -> tuple[int, int]:
    """(inferences, executions) of a model since it was loaded."""
    with InferenceServerClient(url) as client:
        statistics = client.get_inference_statistics(model, client_timeout=CALL_TIMEOUT_S).model_stats[0]
        return statistics.inference_count, statistics.execution_count
