"""The plain baseline of `make peers` gives the vectors of our graph, by both of its routes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import onnxruntime
import pytest

from benchmarks.peer_servers import SCRIPTS
from benchmarks.peers import HttpPeer
from media import Limits
from media.tokens import TextTokens

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
TEXT = "a green frog on a leaf"


@pytest.fixture(scope="module")
def graph() -> Path:
    found = sorted(REPOSITORY.glob("encode_text/*/model.onnx"), key=lambda path: int(path.parent.name))
    assert found, "make models"
    return found[-1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peer_fastapi", SCRIPTS / "fastapi" / "server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("in_loop", [False, True])
async def test_it_answers_with_our_vector(script: ModuleType, graph: Path, in_loop: bool) -> None:
    tokenizer = REPOSITORY / "decode_text" / "1" / "tokenizer.json"
    peer = HttpPeer("fastapi", 80, in_loop)
    transport = httpx.ASGITransport(script.application(str(graph), str(tokenizer)))
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await client.post(
            peer.url, content=peer.body(TEXT), headers={"content-type": "application/json"}
        )
    answer.raise_for_status()

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    ids = np.array(TextTokens(tokenizer, Limits()).rows([TEXT]), np.int64)
    (wanted,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    np.testing.assert_allclose(peer.vector(answer.content), wanted[0], atol=1e-5)
