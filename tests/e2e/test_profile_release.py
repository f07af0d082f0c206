"""Another profile beside `lite`: models under names of their own, requests pinned to each, swaps, unloading.

The other one is `reference` with small encoders of the same architectures and random weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from fixtures_triton import PUBLIC, ROOT, installed_tree, need_models
from fixtures_triton_releases import release
from small_profile import small_profile
from tritonclient.grpc import InferenceServerClient, InferInput

from cli.client import Client
from cli.scratch import scratch_stack
from cli.stack import Stack, StackError
from export.layout import settings_of
from export.pipeline import STEPS
from export.run import run
from export.samples import find_manifest
from export.settings import Settings as ExportSettings
from orchestrator.settings import load_settings
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc
from serving.canary import CANARY_INPUTS
from serving.state import read_state

NAME = "small-random"
ITEMS = [
    ("frog", "A green tree frog on a leaf."),
    ("train", "A red steam train."),
    ("piano", "A black grand piano."),
]


@pytest.fixture(scope="module")
def catalogue() -> Path:
    return find_manifest(load_settings().home)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, catalogue: Path) -> Path:
    """What `python -m export --random-init` makes of the small profile."""
    installed_tree()
    need_models(ROOT / "model_repository", PUBLIC)
    home = tmp_path_factory.mktemp("profile")
    (home / "export").mkdir()
    for name in ("cache", "export/lite"):  # random models on embeddings read the vectors of lite
        (home / name).symlink_to(load_settings().home.absolute() / name)
    profile = small_profile()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(home))
        run(STEPS, profile, None, catalogue)
        return settings_of(profile, ExportSettings()).model_repository


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Stack]:
    allowed = {"SENSORIUM_ALLOW_RANDOM": "true"}
    with scratch_stack(tmp_path_factory.mktemp("releases"), load_settings().home, allowed) as found:
        found.up()
        yield found


def found_by(stack: Stack, pinned: str = "") -> tuple[str, dict[str, float]]:
    """What answers, and the score of each item."""
    metadata = (("x-sensorium-release", pinned),) if pinned else ()
    with grpc.insecure_channel(stack.target) as channel:
        request = pb.SearchRequest(parts=[pb.QueryPart(text="a frog")], limit=len(ITEMS))
        answer = rpc.SensoriumStub(channel).Search(request, timeout=30, metadata=metadata)
    assert not answer.degraded
    return answer.release, {hit.item.id: round(hit.score, 3) for hit in answer.hits}


def memory_mib(stack: Stack) -> float:
    """Of Triton and all its processes, shared pages counted once."""
    server = read_state(stack.settings.home / "run")
    assert server is not None
    assert server.server_pid is not None
    top = psutil.Process(server.server_pid)
    return sum(each.memory_full_info().pss for each in (top, *top.children(recursive=True))) / 2**20


def vector(stack: Stack, model: str, kind: str, version: str) -> np.ndarray:
    tensor = InferInput(kind, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[CANARY_INPUTS[kind](1)]], dtype=object))
    with InferenceServerClient(stack.settings.triton.url) as client:
        found = client.infer(model, [tensor], model_version=version, client_timeout=20).as_numpy("embedding")
    assert found is not None
    return np.asarray(found)[0]


def test_random_weights_do_not_start_unasked(tmp_path: Path, repository: Path) -> None:
    other = {"SENSORIUM_MODEL_REPOSITORY": str(repository)}
    with (
        scratch_stack(tmp_path / "refused", load_settings().home, other) as refused,
        pytest.raises(StackError, match=r"random.*--allow-random"),
    ):
        refused.up()


def test_a_profile_beside_another(stack: Stack, repository: Path, catalogue: Path) -> None:
    with Client(stack.target) as client:
        results = list(client.upsert(pb.Item(id=name, description=text) for name, text in ITEMS))
        assert [result.error.code for result in results] == [""] * len(ITEMS)
    own, scores = found_by(stack)
    before_mib = memory_mib(stack)
    texts = vector(stack, "embed_text", "text", "1"), vector(stack, "embed_image", "image", "1")
    said = release(stack, "create", "small", "--repository", str(repository), code=1)
    assert "weights are random" in said
    release(stack, "create", NAME, "--repository", str(repository))
    said = release(stack, "stage", NAME, "--catalogue", str(catalogue), "--skip-relevance")
    assert "FAILED" not in said

    answered, others = found_by(stack, NAME)
    assert answered == NAME
    assert set(others) == set(scores)
    assert others != scores
    assert found_by(stack) == (own, scores), "whoever names no release is answered as before"
    for kind, expected in zip(("text", "image"), texts, strict=True):
        np.testing.assert_allclose(vector(stack, f"embed_{kind}", kind, "1"), expected, atol=1e-6)
        beside = vector(stack, f"embed_{kind}__{NAME}", kind, "1")
        assert np.abs(beside - expected).max() > 1e-3
    embedding = json.loads((repository / "embedding.json").read_text())
    with Client(stack.target) as client:
        status = client.status().releases[NAME]
        assert status.embedding_version == embedding["embedding_version"]
        assert "random" in status.embedding_version

    release(stack, "promote", NAME)
    assert found_by(stack) == (NAME, others)
    with Client(stack.target) as client:
        assert client.status().profile == "reference (random weights)"
    assert found_by(stack, own) == (own, scores)
    release(stack, "rollback")
    assert found_by(stack) == (own, scores)
    staged_mib = memory_mib(stack)
    # Another one takes its place, so that it is out of use and unloaded.
    release(stack, "create", "second-random", "--repository", str(repository))
    release(stack, "stage", "second-random", "--catalogue", str(catalogue), "--skip-relevance")
    release(stack, "promote", "second-random")
    server = read_state(stack.settings.home / "run")
    assert server is not None
    assert not any(model.endswith(f"__{NAME}") for model in server.models)
    cost_mib, after_mib = staged_mib - before_mib, memory_mib(stack)
    assert after_mib < before_mib + 1.5 * cost_mib, (
        f"one of two is unloaded: {before_mib:.0f} MiB, {staged_mib:.0f} with one, {after_mib:.0f} after"
    )
