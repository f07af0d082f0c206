"""The supervisor against the faults it is there for. Text models only: they start quickly."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from fixtures_triton import ROOT, Triton, installed_tree, need_models, running_triton, stop
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from serving.leftovers import mark, server_processes

MODELS = ("decode_text", "embed_text", "encode_text")
WAIT_S = 60.0


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    installed_tree()
    need_models(ROOT / "model_repository", ("embed_text",))
    place = tmp_path / "model_repository"
    place.mkdir()
    for name in MODELS:
        (place / name).symlink_to(ROOT / "model_repository" / name)
    return place


@pytest.fixture
def config_name() -> str:
    """The ensemble, whose steps have a Python process each."""
    return ""


@pytest.fixture
def server(tmp_path: Path, repository: Path, config_name: str) -> Iterator[Triton]:
    settings = {
        "canary_period_s": "0.5",
        "canary_timeout_s": "4",
        "canary_timeouts_allowed": "0",
        "config_name": config_name,
        # Triton waits half of it for instances whose stub was killed, which it never counts as gone.
        "stop_timeout_s": "4",
    }
    with running_triton(tmp_path / "home", repository, settings) as triton:
        yield triton
    assert triton.left_behind() == []


def embed(client: InferenceServerClient, text: str) -> None:
    tensor = InferInput("text", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=object))
    assert client.infer("embed_text", [tensor], client_timeout=10).as_numpy("embedding").shape == (1, 1024)


class Load(threading.Thread):
    """Requests one after another until told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self._halt = url, threading.Event()
        self.answered = self.failed = 0

    def run(self) -> None:
        with InferenceServerClient(self._url) as client:
            while not self._halt.is_set():
                try:
                    embed(client, f"load {self.answered}")
                    self.answered += 1
                except InferenceServerException:
                    self.failed += 1
                    time.sleep(0.02)

    def halt(self) -> None:
        self._halt.set()
        self.join(WAIT_S)
        assert not self.is_alive()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("config_name", "model", "stubs"),
    [("", "encode_text", 2), ("", "decode_text", 2), ("embedded", "embed_text", 1)],
)
def test_a_stub_killed_under_load_comes_back(server: Triton, model: str, stubs: int) -> None:
    loads = [Load(server.grpc) for _ in range(8)]
    for load in loads:
        load.start()
    until(lambda: all(load.answered > 3 for load in loads), "load flows")
    server_pid = server.state.server_pid
    (victim,) = server.stub_pids(model)
    os.kill(victim, signal.SIGKILL)
    until(lambda: server.state.reloads > 0 and server.state.phase == "ready", "the model is loaded again")
    marks = [load.answered for load in loads]
    until(
        lambda: all(load.answered > m + 3 for load, m in zip(loads, marks, strict=True)), "load flows again"
    )
    for load in loads:
        load.halt()
    assert server.state.restarts == 0, "the server itself was not restarted"
    assert server.state.server_pid == server_pid
    assert victim not in server.stub_pids(model)
    regions = list(Path("/dev/shm").glob(f"{mark(server.home)}*"))
    assert len(regions) == stubs, "the dead stub's memory is gone"


def test_a_killed_server_is_started_again(server: Triton) -> None:
    old = server.state.server_pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    until(lambda: server.state.restarts == 1 and server.state.phase == "ready", "a new server is ready")
    assert server.state.server_pid != old
    with InferenceServerClient(server.grpc) as client:
        embed(client, "after the restart")


def test_a_hung_stub_is_noticed(server: Triton) -> None:
    """It keeps its process and Triton's readiness; only a canary tells."""
    (stub,) = server.stub_pids("encode_text")
    os.kill(stub, signal.SIGSTOP)
    until(
        lambda: server.state.reloads + server.state.restarts > 0 and server.state.phase == "ready",
        "the model, or the whole server, is there again",
    )
    until(lambda: stub not in server.stub_pids("encode_text"), "the hung process is gone")
    with InferenceServerClient(server.grpc) as client:
        embed(client, "after the hang")


def test_a_hung_server_is_started_again(server: Triton) -> None:
    """Its processes are all there, and it accepts connections; it gives no sign of life."""
    hung = server.state.server_pid
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    until(lambda: server.state.server_pid not in (hung, None), "another server")
    assert "sign of life" in server.state.error or server.state.restarts == 1
    until(lambda: server.state.phase == "ready", "it is ready")
    with InferenceServerClient(server.grpc) as client:
        embed(client, "after the hang")


def test_a_long_queue_is_not_taken_for_a_hang(tmp_path: Path, repository: Path) -> None:
    """A canary that waits behind hundreds of others times out, but the model answers them meanwhile.

    Texts are short, so that also a slow machine answers a batch of them within a canary's time.
    """
    settings = {"canary_period_s": "0.5", "canary_timeout_s": "2", "canary_timeouts_allowed": "0"}
    answered: queue.SimpleQueue[InferenceServerException | None] = queue.SimpleQueue()
    requests = 800
    with running_triton(tmp_path / "home", repository, settings) as server:
        with InferenceServerClient(server.grpc) as client:
            tensor = InferInput("text", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[b"a long text " * 20]], dtype=object))
            for _ in range(requests):
                client.async_infer("embed_text", [tensor], lambda result, error: answered.put(error))
            assert [answered.get(timeout=WAIT_S) for _ in range(requests)] == [None] * requests
        until(lambda: server.state.phase == "ready", "canaries pass again")
        assert server.state.restarts == server.state.reloads == 0
        assert "model_busy" in (server.home / "serving.log").read_text()


def test_sigterm_under_load_leaves_nothing(server: Triton) -> None:
    load = Load(server.grpc)
    load.start()
    until(lambda: load.answered > 3, "load flows")
    stop(server)
    load.halt()
    assert server.process.returncode == 0
    assert server.left_behind() == []
    assert server.state.phase == "stopped"


def test_the_start_after_a_kill_sweeps(tmp_path: Path, repository: Path) -> None:
    home = tmp_path / "home"
    with running_triton(home, repository) as first:
        processes = server_processes(mark(home))
        assert len(processes) == 2
        # The server itself cannot react either, so that its memory stays behind.
        for process in processes:
            process.suspend()
        first.process.kill()
        first.process.wait(10)
    assert len(first.left_behind()) > 0
    with running_triton(home, repository) as second:
        psutil.wait_procs(processes, timeout=10)
        assert not any(process.is_running() for process in processes)
        with InferenceServerClient(second.grpc) as client:
            embed(client, "after the sweep")
        assert len(second.left_behind()) == 3, "one server, one stub, one region"
    assert second.left_behind() == []


def test_a_second_supervisor_of_the_same_home_is_refused(server: Triton, repository: Path) -> None:
    environment = os.environ | {
        "SENSORIUM_HOME": str(server.home),
        "SENSORIUM_MODEL_REPOSITORY": str(repository),
    }
    command = [sys.executable, "-m", "serving", "run"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 1
    assert "already runs" in done.stderr
    with InferenceServerClient(server.grpc) as client:
        embed(client, "undisturbed")
