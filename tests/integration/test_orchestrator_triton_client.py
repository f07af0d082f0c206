"""The Triton client against a KServe server in this process that answers, refuses and stalls as told."""

import asyncio
import json
import struct
from collections.abc import AsyncGenerator
from functools import partial

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from media import Modality, TooLongError
from orchestrator.clients.triton import TritonClient
from orchestrator.errors import (
    DependencyDeadlineError,
    DependencyError,
    PartError,
    ProtocolError,
    UnavailableError,
)
from orchestrator.settings import TritonSettings
from orchestrator.types import RerankInputs
from releases.naming import model_name

VECTOR = np.full(1024, 1 / 32, np.float32)
LISTED = RerankInputs(
    query=np.stack([VECTOR] * 3),
    query_kind=np.array([1, 2, 5]),
    query_weight=np.array([1, 1, -0.5], np.float32),
    rows=np.arange(2 * 4 * 1024, dtype=np.float32).reshape(2, 4, 1024),
    evidence=np.zeros((2, 3, 4), np.float32),
    fused=np.array([0.9, 0.1], np.float32),
)


class Kserve(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers by model name; what is in ``fail`` is what a model fails with."""

    def __init__(self) -> None:
        self.requests: list[service_pb2.ModelInferRequest] = []
        self.fail: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.outputs: dict[str, dict[str, bytes]] = {
            "embed_text": {"embedding": VECTOR.tobytes()},
            "embed_image": {"embedding": VECTOR.tobytes()},
            # The order of outputs is the server's own business.
            "embed_audio": {"native": np.ones(512, np.float32).tobytes(), "embedding": VECTOR.tobytes()},
            "embed_video": {"embedding": VECTOR.tobytes(), "native": np.ones(2048, np.float32).tobytes()},
            "transcribe_audio": {
                "text": struct.pack("<I", 6) + "frög ".encode(),
                "score": np.float32(-0.5).tobytes(),
            },
        }
        self.delay_s = 0.0
        self.metadata_calls = 0
        self.unready: set[str] = set()

    async def ModelInfer(self, request, context):  # noqa: N802
        self.requests.append(request)
        await asyncio.sleep(self.delay_s)
        if request.model_name in self.fail:
            await context.abort(*self.fail[request.model_name])
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, raw in self.outputs[request.model_name].items():
            response.outputs.add(name=name)
            response.raw_output_contents.append(raw)
        return response

    async def ModelReady(self, request, context):  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name not in self.unready)

    async def ModelMetadata(self, request, context):  # noqa: N802
        self.metadata_calls += 1
        if request.name == "rerank":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        versions = ("9", "10") if request.name == "encode_text" else ("1",)
        return service_pb2.ModelMetadataResponse(name=request.name, versions=versions)


@pytest.fixture
async def kserve() -> AsyncGenerator[tuple[Kserve, TritonClient]]:
    servicer = Kserve()
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with TritonClient(TritonSettings(url=f"127.0.0.1:{port}")) as client:
        yield servicer, client
    await server.stop(None)


Kit = tuple[Kserve, TritonClient]


async def test_a_text_goes_out_as_bytes_and_comes_back_as_a_vector(kserve: Kit) -> None:
    server, client = kserve
    embedding = await client.embed(Modality.TEXT, "frög", 5)
    assert embedding.native is None
    assert np.array_equal(embedding.unified, VECTOR)
    assert embedding.unified.dtype == np.float32
    (request,) = server.requests
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("text", "BYTES", [1, 1])
    assert request.raw_input_contents[0] == struct.pack("<I", 5) + "frög".encode()


async def test_a_release_is_asked_by_the_names_of_its_own_models(kserve: Kit) -> None:
    server, client = kserve
    bound = client.bound(partial(model_name, release="r1"))
    server.outputs["embed_text__r1"] = server.outputs["embed_text"]
    await bound.embed(Modality.TEXT, "frog", 5)
    await client.embed(Modality.TEXT, "frog", 5)
    assert [request.model_name for request in server.requests] == ["embed_text__r1", "embed_text"]
    assert await bound.ready()
    server.unready.add("embed_text")
    assert (await client.ready(), await bound.ready()) == (False, True)
    server.unready |= {"embed_video__r1"}
    assert not await bound.ready()
    server.unready -= {"embed_video__r1"}
    server.unready.add("transcribe_audio")
    assert not await bound.ready(), "it is shared"
    assert (await bound.models()).keys() >= {"embed_text", "encode_text", "transcribe_audio"}


@pytest.mark.parametrize(("modality", "dim"), [(Modality.AUDIO, 512), (Modality.VIDEO, 2048)])
async def test_sounds_and_videos_have_native_vectors(kserve: Kit, modality: Modality, dim: int) -> None:
    embedding = await kserve[1].embed(modality, b"x", 5)
    assert embedding.native is not None
    assert embedding.native.shape == (dim,)
    assert embedding.unified.shape == (1024,)


async def test_a_transcript_and_its_phrases(kserve: Kit) -> None:
    server, client = kserve
    heard = await client.transcribe(b"x", ["a frög", "tree"], 5)
    assert (heard.text, heard.score) == ("frög", -0.5)
    request = server.requests[0]
    assert [tensor.name for tensor in request.inputs] == ["audio", "phrases"]
    assert json.loads(request.raw_input_contents[1][4:]) == ["a frög", "tree"]
    await client.transcribe(b"x", [], 5)
    assert [tensor.name for tensor in server.requests[1].inputs] == ["audio"]


async def test_the_re_ranker_gets_tensors_of_numbers(kserve: Kit) -> None:
    server, client = kserve
    server.outputs["rerank"] = {"score": np.array([0.25, 0.5], np.float32).tobytes()}
    found = await client.rerank(LISTED, 5)
    assert found.tolist() == [0.25, 0.5]
    (request,) = server.requests
    shapes = {t.name: (t.datatype, list(t.shape)) for t in request.inputs}
    assert shapes == {
        "query": ("FP32", [1, 3, 1024]),
        "query_kind": ("INT64", [1, 3]),
        "query_weight": ("FP32", [1, 3]),
        "rows": ("FP32", [1, 2, 4, 1024]),
        "evidence": ("FP32", [1, 2, 3, 4]),
        "fused": ("FP32", [1, 2]),
    }
    sent = dict(zip(shapes, request.raw_input_contents, strict=True))
    assert sent["query_kind"] == np.array([1, 2, 5]).tobytes()
    assert sent["rows"] == LISTED.rows.tobytes()


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5, 0.5], [0.5, np.nan]])
async def test_scores_that_are_not_one_number_a_candidate_are_refused(
    kserve: Kit, scores: list[float]
) -> None:
    server, client = kserve
    server.outputs["rerank"] = {"score": np.array(scores, np.float32).tobytes()}
    with pytest.raises(ProtocolError):
        await client.rerank(LISTED, 5)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DependencyDeadlineError),
        (grpc.StatusCode.INTERNAL, ProtocolError),
        (grpc.StatusCode.INVALID_ARGUMENT, ProtocolError),
        (grpc.StatusCode.NOT_FOUND, ProtocolError),
        (grpc.StatusCode.UNKNOWN, ProtocolError),
    ],
)
async def test_every_status_is_one_of_ours(
    kserve: Kit, status: grpc.StatusCode, error: type[DependencyError]
) -> None:
    server, client = kserve
    server.fail["embed_text"] = (status, "deadline exceeded: unavailable {not json}")
    with pytest.raises(DependencyError) as raised:
        await client.embed(Modality.TEXT, "a", 5)
    assert type(raised.value) is error
    assert isinstance(raised.value.__cause__, grpc.aio.AioRpcError)
    assert "not json" not in raised.value.message


@pytest.mark.parametrize("wrapped", ["{}", "in ensemble 'embed_audio', Failed: {}", "{}\n  at model.py(1)"])
async def test_a_decoders_refusal_is_the_media_error_again(kserve: Kit, wrapped: str) -> None:
    server, client = kserve
    refusal = TooLongError("too long", kind="ogg", limit="max_audio_s=1800")
    server.fail["embed_audio"] = (
        grpc.StatusCode.INTERNAL,
        wrapped.replace("{}", refusal.to_json()),
    )
    with pytest.raises(PartError) as raised:
        await client.embed(Modality.AUDIO, b"x", 5)
    error = raised.value
    assert (error.code, error.message, error.kind, error.limit, error.part) == (
        "media.too_long",
        "too long",
        "ogg",
        "max_audio_s=1800",
        None,
    )


async def test_the_deadline_holds(kserve: Kit) -> None:
    server, client = kserve
    server.delay_s = 30
    with pytest.raises(DependencyDeadlineError):
        await client.embed(Modality.TEXT, "a", 0.1)


@pytest.mark.parametrize("raw", [b"", VECTOR.tobytes()[:-4], np.full(1024, np.nan, np.float32).tobytes()])
async def test_a_vector_that_is_none_is_refused(kserve: Kit, raw: bytes) -> None:
    server, client = kserve
    server.outputs["embed_text"] = {"embedding": raw}
    with pytest.raises(ProtocolError):
        await client.embed(Modality.TEXT, "a", 5)


async def test_ready_is_all_models(kserve: Kit) -> None:
    server, client = kserve
    assert await client.ready()
    server.unready.add("transcribe_audio")
    assert not await client.ready()


async def test_the_highest_version_counts(kserve: Kit) -> None:
    models = await kserve[1].models()
    assert (models["encode_text"], models["embed_text"]) == ("10", "1")
    assert "rerank" not in models


async def test_versions_are_not_asked_for_again_at_once(kserve: Kit) -> None:
    server, client = kserve
    models = await client.models()
    asked = server.metadata_calls
    assert asked > 0
    assert await client.models() == models
    assert server.metadata_calls == asked


async def test_calls_go_round_the_servers_behind_a_name() -> None:
    """A headless service names every server; one channel must not stay with the first."""
    kits, servers, ports = [Kserve(), Kserve()], [], []
    for kit in kits:
        server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(kit, server)
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        servers.append(server)
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    async with TritonClient(TritonSettings(url=target)) as client:
        async with asyncio.timeout(20):
            while not all(kit.requests for kit in kits):
                await client.embed(Modality.TEXT, "a", 5)
    for server in servers:
        await server.stop(None)


async def test_no_server_at_all() -> None:
    async with TritonClient(TritonSettings(url="127.0.0.1:1")) as client:
        assert not await client.ready()
        with pytest.raises(UnavailableError):
            await client.embed(Modality.TEXT, "a", 5)
        with pytest.raises(UnavailableError):
            await client.models()
