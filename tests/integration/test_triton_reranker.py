"""The re-ranker on the real Triton, through the orchestrator's client and under the supervisor."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from fixtures_triton import ROOT, Triton, installed_tree, running_triton

from export.graphs import export_graph
from export.reranker import Reranker, Shape
from export.reranker_steps import reranker_graph
from orchestrator.clients.triton import TritonClient
from orchestrator.settings import TritonSettings
from orchestrator.types import RerankInputs

WAIT_S = 60.0


@pytest.fixture(scope="module")
def model() -> Reranker:
    """As served in size, with weights by chance: what is tested is the way there and back."""
    torch.manual_seed(0)
    found = Reranker(Shape())
    for parameter in found.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return found.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Reranker) -> Iterator[Triton]:
    installed_tree()
    folder = tmp_path_factory.mktemp("reranker")
    place = folder / "model_repository" / "rerank"
    (place / "1").mkdir(parents=True)
    (place / "config.pbtxt").symlink_to(ROOT / "model_repository" / "rerank" / "config.pbtxt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_graph(reranker_graph(model), model, place / "1" / "model.onnx")
    settings = {"canary_period_s": "0.5", "canary_timeout_s": "10", "canary_timeouts_allowed": "0"}
    with running_triton(folder / "home", folder / "model_repository", settings) as triton:
        yield triton


def inputs(candidates: int, vectors: int, seed: int = 0) -> RerankInputs:
    random = np.random.default_rng(seed)

    def floats(*sizes: int) -> np.ndarray:
        return random.random(sizes, np.float32)

    return RerankInputs(
        query=floats(vectors, 1024) / 16,
        query_kind=random.integers(1, 6, vectors),
        query_weight=floats(vectors),
        rows=floats(candidates, 4, 1024) / 16,
        evidence=floats(candidates, vectors, 4),
        fused=floats(candidates),
    )


async def test_it_answers_what_torch_computes(server: Triton, model: Reranker) -> None:
    async with TritonClient(TritonSettings(url=server.grpc)) as client:
        for candidates, vectors in ((50, 1), (3, 4), (2, 1)):
            given = inputs(candidates, vectors)
            names = ("query", "query_kind", "query_weight", "rows", "evidence", "fused")
            tensors = [torch.from_numpy(getattr(given, name))[None] for name in names]
            found = await client.rerank(given, 10.0)
            np.testing.assert_allclose(found, model(*tensors)[0].numpy(), atol=1e-5)


def test_its_canary_flies_and_notices_a_dead_process(server: Triton) -> None:
    assert server.state.models["rerank"].phase == "ready"
    (victim,) = server.stub_pids("rerank")
    os.kill(victim, signal.SIGKILL)
    until(lambda: server.state.reloads > 0 and server.state.phase == "ready", "it is loaded again")
    assert victim not in server.stub_pids("rerank")


def test_its_canary_notices_a_hung_process(server: Triton) -> None:
    (stub,) = server.stub_pids("rerank")
    before = server.state.reloads + server.state.restarts
    os.kill(stub, signal.SIGSTOP)
    until(
        lambda: server.state.reloads + server.state.restarts > before and server.state.phase == "ready",
        "the model, or the whole server, is there again",
    )
    until(lambda: stub not in server.stub_pids("rerank"), "the hung process is gone")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.05)
