"""Triton over gRPC (KServe v2): the public models of ``model_repository``, as the contracts of the project
name them.

It drives the stubs that tritonclient generates on a ``grpc.aio`` channel of its own: tritonclient's ``infer``
turns every failure into a string, loses which status it was, and copies an encoded file three times on its
way out.

Statuses are mapped by code alone::

    UNAVAILABLE, RESOURCE_EXHAUSTED      -> UnavailableError          (not up, queue full)
    DEADLINE_EXCEEDED                    -> DependencyDeadlineError
    a decoder's refusal (JSON, any code) -> PartError
    anything else                        -> ProtocolError

A decoder's refusal is recognised by its text being the JSON object of a media error, because Triton gives
every error of a Python model one and the same status.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, NoReturn, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from media import MediaError
from orchestrator.errors import DependencyDeadlineError, PartError, ProtocolError, UnavailableError
from orchestrator.settings import TritonSettings
from orchestrator.spans import outgoing
from orchestrator.types import (
    NATIVE_DIM,
    UNIFIED_DIM,
    AttendInputs,
    Embedding,
    FloatArray,
    Modality,
    RerankInputs,
    Transcript,
)

__all__ = ["ATTEND_MODEL", "EMBED_MODELS", "RERANK_MODEL", "TRANSCRIBE_MODEL", "TritonClient"]

EMBED_MODELS: Final[Mapping[Modality, str]] = {m: f"embed_{m.value}" for m in Modality}
TRANSCRIBE_MODEL: Final = "transcribe_audio"
RERANK_MODEL: Final = "rerank"
ATTEND_MODEL: Final = "attend"
_NAMED: Final = (
    *EMBED_MODELS.values(),
    *(f"encode_{m.value}" for m in Modality),
    TRANSCRIBE_MODEL,
    RERANK_MODEL,
    ATTEND_MODEL,
)

_NAME: Final = "triton"
_READY_DEADLINE_S: Final = 2.0
_MODELS_S: Final = 10.0
_LENGTH = struct.Struct("<I")
_UNAVAILABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})


class TritonClient:
    """One channel to one server. Safe for any number of calls at once on one event loop.

    Build it inside the running loop, and ``close`` it there, or use it as an async context manager.
    """

    def __init__(self, settings: TritonSettings) -> None:
        self._channel = grpc.aio.insecure_channel(
            settings.url,
            options=[
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                # Triton is local and restarts within seconds: do not back off for two minutes.
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.enable_http_proxy", 0),
                # A name may stand for several servers (a headless service): every call takes the next.
                ("grpc.lb_policy_name", "round_robin"),
            ],
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._models: Mapping[str, str] = {}
        self._models_until_s = 0.0
        self._served_as: Callable[[str], str] = _itself

    def bound(self, served_as: Callable[[str], str]) -> TritonClient:
        """The same server by other models: those that ``served_as`` names in the place of the plain names.

        It has the channel of this client and ends with it.
        """
        other = copy.copy(self)
        other._served_as = served_as
        other._models_until_s = 0.0
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the channel; calls under way are cancelled."""
        await self._channel.close()

    async def embed(self, modality: Modality, data: bytes | str, deadline_s: float) -> Embedding:
        """The embedding of one text (``str``) or one encoded file (``bytes``).

        Raises:
            PartError: the decoder refused the content.
            DependencyError: everything else, see the module.
        """
        model = EMBED_MODELS[modality]
        native_dim = NATIVE_DIM.get(modality)
        outputs = ("embedding",) if native_dim is None else ("embedding", "native")
        raw = data.encode() if isinstance(data, str) else data
        answer = await self._infer(model, {modality.value: raw}, outputs, deadline_s)
        unified = _vector(answer, model, "embedding", UNIFIED_DIM)
        return Embedding(
            unified, None if native_dim is None else _vector(answer, model, "native", native_dim)
        )

    async def transcribe(self, data: bytes, phrases: Sequence[str], deadline_s: float) -> Transcript:
        """The speech in an encoded sound. ``phrases`` are expected ones; none at all is fine.

        Raises:
            PartError: the decoder refused the content.
            DependencyError: everything else, see the module.
        """
        inputs = {"audio": data}
        if phrases:
            inputs["phrases"] = json.dumps(list(phrases), ensure_ascii=False).encode()
        answer = await self._infer(TRANSCRIBE_MODEL, inputs, ("text", "score"), deadline_s)
        text, score = answer.get("text", b""), answer.get("score", b"")
        if len(text) < _LENGTH.size or len(score) != 4:
            raise ProtocolError(_NAME, f"{TRANSCRIBE_MODEL} answered with other shapes than its contract's")
        heard = text[_LENGTH.size : _LENGTH.size + _LENGTH.unpack_from(text)[0]]
        return Transcript(heard.decode(errors="replace").strip(), float(np.frombuffer(score, np.float32)[0]))

    async def attend(self, inputs: AttendInputs, deadline_s: float) -> FloatArray:
        """One vector for the rows of each modality, float32 [4, 1024].

        Raises:
            DependencyError: see the module.
        """
        answer = await self._call(_arrays(ATTEND_MODEL, inputs), ("composed",), deadline_s)
        composed = _vector(answer, ATTEND_MODEL, "composed", len(Modality) * UNIFIED_DIM)
        return composed.reshape(len(Modality), UNIFIED_DIM)

    async def rerank(self, inputs: RerankInputs, deadline_s: float) -> FloatArray:
        """The probability of each of c candidates, float32 [c].

        Raises:
            DependencyError: see the module.
        """
        answer = await self._call(_arrays(RERANK_MODEL, inputs), ("score",), deadline_s)
        return _vector(answer, RERANK_MODEL, "score", len(inputs.fused))

    async def ready(self) -> bool:
        """Whether every public model that a search needs is ready; `attend` and `rerank` may be missing.

        A server that does not answer is not ready.
        """
        names = [self._served_as(name) for name in (*EMBED_MODELS.values(), TRANSCRIBE_MODEL)]
        try:
            answers = await asyncio.gather(
                *(
                    self._stub.ModelReady(service_pb2.ModelReadyRequest(name=name), timeout=_READY_DEADLINE_S)
                    for name in names
                )
            )
        except grpc.aio.AioRpcError:
            return False
        return all(answer.ready for answer in answers)

    async def models(self) -> Mapping[str, str]:
        """Name to version of the models that answer; of several versions the highest.

        Each is asked for by its name: the index of the repository is closed where model control is. So many
        calls wait behind inferences, so what a server said is kept for seconds.

        Raises:
            DependencyError: the server did not answer.
        """
        if time.monotonic() >= self._models_until_s:
            versions = await asyncio.gather(*(self._version(name) for name in _NAMED))
            found = {name: version for name, version in zip(_NAMED, versions, strict=True) if version}
            self._models, self._models_until_s = found, time.monotonic() + _MODELS_S
        return self._models

    async def _version(self, model: str) -> str:
        """The highest version of a model that is loaded, "" when none is."""
        request = service_pb2.ModelMetadataRequest(name=self._served_as(model))
        try:
            metadata = await self._stub.ModelMetadata(request, timeout=_READY_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return ""
            _raise(error, model)
        return max(metadata.versions, key=int, default="")

    async def _infer(
        self, model: str, inputs: Mapping[str, bytes], outputs: Sequence[str], deadline_s: float
    ) -> dict[str, bytes]:
        """Raw bytes of each output. Inputs are BYTES of shape [1, 1] (the batch dimension in front)."""
        request = service_pb2.ModelInferRequest(model_name=model)
        for name, data in inputs.items():
            request.inputs.add(name=name, datatype="BYTES", shape=(1, 1))
            request.raw_input_contents.append(_LENGTH.pack(len(data)) + data)
        return await self._call(request, outputs, deadline_s)

    async def _call(
        self, request: service_pb2.ModelInferRequest, outputs: Sequence[str], deadline_s: float
    ) -> dict[str, bytes]:
        request.model_name = self._served_as(request.model_name)
        for name in outputs:
            request.outputs.add(name=name)
        try:
            response = await self._stub.ModelInfer(request, timeout=deadline_s, metadata=outgoing())
        except grpc.aio.AioRpcError as error:
            _raise(error, request.model_name)
        names = (output.name for output in response.outputs)
        return dict(zip(names, response.raw_output_contents, strict=False))


def _itself(model: str) -> str:
    return model


def _arrays(model: str, inputs: AttendInputs | RerankInputs) -> service_pb2.ModelInferRequest:
    """One row of a batch: every field an input of its name."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for field in dataclasses.fields(inputs):
        array: NDArray[np.generic] = getattr(inputs, field.name)
        datatype = "INT64" if array.dtype == np.int64 else "FP32"
        request.inputs.add(name=field.name, datatype=datatype, shape=(1, *array.shape))
        request.raw_input_contents.append(array.tobytes())
    return request


def _vector(answer: Mapping[str, bytes], model: str, name: str, dim: int) -> FloatArray:
    """Output ``name`` as float32 [dim], read-only and of its own memory's lifetime."""
    raw = answer.get(name, b"")
    if len(raw) != dim * 4:
        raise ProtocolError(_NAME, f"{model} gave {len(raw) // 4} values for {name}, its contract says {dim}")
    vector: FloatArray = np.frombuffer(raw, np.float32)
    if not np.isfinite(vector).all():
        raise ProtocolError(_NAME, f"{model} gave values for {name} that are not finite")
    return vector


def _raise(error: grpc.aio.AioRpcError, what: str) -> NoReturn:
    """Foreign errors come from one place: a call of the stub, as ``AioRpcError``."""
    status = error.code()
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise DependencyDeadlineError(_NAME, f"{what} did not answer in time") from error
    if status in _UNAVAILABLE:
        raise UnavailableError(_NAME, f"{what} cannot be reached or is overloaded") from error
    refusal = _refusal(error.details() or "")
    if refusal is not None:
        raise PartError.of(refusal) from error
    raise ProtocolError(_NAME, f"{what} failed with {status.name}") from error


def _refusal(details: str) -> MediaError | None:
    """The media error whose JSON object stands in an error text, if one does.

    Triton puts words of its own around a model's message, so the object may begin and end anywhere.
    """
    start, end = details.find("{"), details.rfind("}") + 1
    try:
        return MediaError.from_json(details[start:end]) if 0 <= start < end else None
    except ValueError:
        return None
