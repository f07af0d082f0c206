"""Models of releases beside those of the repository, on the real embedded Triton. Text and images only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from fixtures_triton import ROOT, Triton, installed_tree, need_models, running_triton
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput

from cli.release_models import models_dir, remove_models, write_models
from releases.manifest import EMBEDDING, Manifest, create, files_dir
from serving.canary import CANARY_INPUTS

REPOSITORY = ROOT / "model_repository"
KINDS = ("text", "image")
WAIT_S = 180.0


def part_of_repository(folder: Path, encoders: dict[str, str]) -> Path:
    """A repository of text and images, with these versions of the encoders."""
    for kind in KINDS:
        for step in ("decode", "embed", "encode"):
            name = f"{step}_{kind}"
            version = encoders.get(name, "1")
            (folder / name).mkdir(parents=True)
            for source in [*(REPOSITORY / name).glob("*.pbtxt"), REPOSITORY / name / version]:
                (folder / name / source.name).symlink_to(source)
            if (REPOSITORY / name / "configs").is_dir():
                (folder / name / "configs").symlink_to(REPOSITORY / name / "configs")
    whole = json.loads((REPOSITORY / EMBEDDING).read_text())
    whole["models"] = {name: {"version": version} for name, version in encoders.items()}
    del whole["rerank"], whole["attend"]
    whole["embedding_version"] = "test-" + "-".join(encoders.values())
    (folder / EMBEDDING).write_text(json.dumps(whole))
    return folder


def newest(name: str) -> int:
    return max(int(path.name) for path in (REPOSITORY / name).glob("[1-9]*"))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two repositories that differ in the encoders' versions."""
    installed_tree()
    need_models(REPOSITORY, ("embed_text", "embed_image"))
    new = {f"encode_{kind}": newest(f"encode_{kind}") for kind in KINDS}
    old = {name: version - 1 for name, version in new.items()}
    if any(not (REPOSITORY / name / str(version) / "model.onnx").is_file() for name, version in old.items()):
        # One export only: the same graph under another number, and a set of its own all the same.
        old = new
    folder = tmp_path_factory.mktemp("sets")
    return {
        "new": part_of_repository(folder / "new", {name: str(version) for name, version in new.items()}),
        "old": part_of_repository(folder / "old", {name: str(version) for name, version in old.items()}),
    }


@pytest.fixture(scope="module")
def server(sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    settings = {"canary_period_s": "0.5"}
    with running_triton(tmp_path_factory.mktemp("home"), sets["new"], settings) as triton:
        yield triton
    assert triton.left_behind() == []


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.05)


def made(server: Triton, name: str, repository: Path) -> Manifest:
    return create(server.home, name, repository, ROOT / "milvus", Path("none"))


def stage(server: Triton, manifest: Manifest, repository: Path) -> list[str]:
    models = write_models(server.home, manifest, repository)
    until(lambda: all(model in server.state.models for model in models), f"{models} are ready")
    return models


def unstage(server: Triton, name: str) -> None:
    remove_models(server.home, name)
    until(
        lambda: (
            not any(model.endswith(f"__{name}") for model in (*server.state.models, *server.state.staged))
        ),
        f"the models of {name} are unloaded",
    )


def vector(client: InferenceServerClient, model: str, kind: str, number: int = 1) -> NDArray[np.float32]:
    tensor = InferInput(kind, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[CANARY_INPUTS[kind](number)]], dtype=object))
    found = client.infer(model, [tensor], client_timeout=20).as_numpy("embedding")
    assert found is not None
    return np.asarray(found)[0]


def memory_bytes(server: Triton) -> int:
    assert server.state.server_pid is not None
    top = psutil.Process(server.state.server_pid)
    return sum(each.memory_full_info().pss for each in (top, *top.children(recursive=True)))


def test_releases_stand_beside_each_other_and_go_again(server: Triton, sets: dict[str, Path]) -> None:
    before = {model: server.stub_pids(model) for model in ("embed_text", "decode_image", "encode_image")}
    with InferenceServerClient(server.grpc) as client:
        own = {kind: vector(client, f"embed_{kind}", kind) for kind in KINDS}
        for name in ("same", "other"):
            repository = sets["new" if name == "same" else "old"]
            models = stage(server, made(server, name, repository), sets["new"])
            assert models == [f"embed_image__{name}", f"embed_text__{name}"]
        staged_bytes = memory_bytes(server)
        is_different = (
            json.loads((sets["old"] / EMBEDDING).read_text())["models"]
            != (json.loads((sets["new"] / EMBEDDING).read_text())["models"])
        )
        for kind in KINDS:
            np.testing.assert_allclose(vector(client, f"embed_{kind}__same", kind), own[kind], atol=1e-6)
            distance = np.abs(vector(client, f"embed_{kind}__other", kind) - own[kind]).max()
            assert (distance > 1e-3) == is_different
        assert {model: server.stub_pids(model) for model in before} == before, "what answered was not touched"
        unstage(server, "same")
        unstage(server, "other")
        assert memory_bytes(server) < staged_bytes - 4 * 20_000_000, (
            "four sessions and their processes are gone"
        )
        for model in ("embed_text__same", "encode_image__other"):
            assert not client.is_model_ready(model)
        for kind in KINDS:
            np.testing.assert_array_equal(vector(client, f"embed_{kind}", kind), own[kind])
    assert {model: server.stub_pids(model) for model in before} == before
    assert server.state.restarts == server.state.reloads == 0


def test_a_corrupt_release_is_refused_and_the_others_go_on(server: Triton, sets: dict[str, Path]) -> None:
    manifest = made(server, "corrupt", sets["old"])
    graph = (
        files_dir(server.home, "corrupt") / "encode_image" / manifest.models["encode_image"] / "model.onnx"
    )
    graph.unlink()  # it may be a link to the repository's
    graph.write_bytes(b"no graph")
    write_models(server.home, manifest, sets["new"])
    until(lambda: server.state.staged.get("embed_image__corrupt", "").startswith("failed"), "it is refused")
    assert "embed_image__corrupt" not in server.state.models
    with InferenceServerClient(server.grpc) as client:
        for kind in KINDS:
            vector(client, f"embed_{kind}", kind, 7)
    assert (server.state.phase, server.state.restarts) == ("ready", 0)
    unstage(server, "corrupt")


def test_a_restart_brings_staged_models_back(server: Triton, sets: dict[str, Path]) -> None:
    models = stage(server, made(server, "kept", sets["old"]), sets["new"])
    restarts, pid = server.state.restarts, server.state.server_pid
    with InferenceServerClient(server.grpc) as client:
        expected = vector(client, "embed_text__kept", "text")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.state.restarts == restarts + 1 and server.state.phase == "ready", "it is back")
    until(lambda: all(model in server.state.models for model in models), "and so is the release")
    with InferenceServerClient(server.grpc) as client:
        np.testing.assert_array_equal(vector(client, "embed_text__kept", "text"), expected)
    (victim,) = server.stub_pids("encode_image__kept")
    os.kill(victim, signal.SIGKILL)
    until(
        lambda: (
            server.stub_pids("encode_image__kept") not in ([], [victim]) and server.state.phase == "ready"
        ),
        "a dead process of a release is started again",
    )
    unstage(server, "kept")
    assert not any(models_dir(server.home).iterdir())
    shutil.rmtree(files_dir(server.home, "kept"))
