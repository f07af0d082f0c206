"""The real Triton for tests: the wheel's server on the real model repository, on free ports, under its
supervisor.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from serving import ServerState, ServingError, Settings, check_installed, read_state
from serving.leftovers import mark, server_processes
from serving.repository import read_repository

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 40.0
PUBLIC = ("embed_audio", "embed_image", "embed_text", "embed_video", "transcribe_audio")


@dataclass(frozen=True, slots=True)
class Triton:
    """A running server. grpc, http and metrics are host:port on loopback."""

    grpc: str
    http: str
    metrics: str
    home: Path
    process: subprocess.Popen[bytes]

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def state(self) -> ServerState:
        state = read_state(self.run)
        assert state is not None
        return state

    def stub_pids(self, model: str) -> list[int]:
        """The Python processes of one model."""
        return [
            process.pid
            for process in server_processes(mark(self.home))
            if f"/{model}/" in " ".join(process.cmdline()[1:2])
        ]

    def wait(self, what: str, timeout_s: float = START_TIMEOUT_S) -> ServerState:
        """Wait for a phase of the whole; the test fails when the supervisor ends or time is up."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            state = read_state(self.run)
            if state is not None and state.phase == what and state.supervisor_pid == self.process.pid:
                return state
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        log = (self.home / "serving.log").read_text()[-2000:]
        pytest.fail(f"Triton is not {what}; the supervisor's last words:\n{log}")

    def left_behind(self) -> list[str]:
        """Processes and shared memory that carry this server's mark."""
        own = mark(self.home)
        processes = [str(process) for process in server_processes(own)]
        return processes + [region.name for region in Path("/dev/shm").glob(f"{own}*")]


def free_ports(count: int) -> list[int]:
    """Distinct ports that were free just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def installed_tree() -> Path:
    """The server tree that `make triton` built; skips when it is not there."""
    settings = Settings(home=Path(os.environ.get("SENSORIUM_HOME", ROOT / ".sensorium")))
    try:
        check_installed(settings)
    except ServingError as error:
        pytest.skip(f"no Triton server: run `make triton` ({error})")
    return settings.tree


def need_models(repository: Path, names: tuple[str, ...]) -> None:
    """Skip unless these models are built."""
    try:
        lacking = sorted(set(names) - set(read_repository(repository).public))
    except ServingError as error:
        pytest.skip(f"no models: run `make models` ({error})")
    if lacking:
        pytest.skip(f"not built: {', '.join(lacking)}; run `make models`")


@contextmanager
def running_triton(
    home: Path, repository: Path = ROOT / "model_repository", settings: Mapping[str, str] | None = None
) -> Iterator[Triton]:
    """Start `python -m serving run` with a home of its own; ready on entry, gone on exit."""
    home.mkdir(parents=True, exist_ok=True)
    tree = home / "triton"
    if not tree.exists():
        tree.symlink_to(installed_tree())
    http, grpc, metrics = free_ports(3)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("SENSORIUM_SERVING_")
    }
    environment |= {
        "SENSORIUM_HOME": str(home),
        "SENSORIUM_MODEL_REPOSITORY": str(repository),
        "SENSORIUM_SERVING_HTTP_PORT": str(http),
        "SENSORIUM_SERVING_GRPC_PORT": str(grpc),
        "SENSORIUM_SERVING_METRICS_PORT": str(metrics),
    }
    environment |= {f"SENSORIUM_SERVING_{key.upper()}": value for key, value in (settings or {}).items()}
    with (home / "serving.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "run"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    host = "127.0.0.1"
    triton = Triton(f"{host}:{grpc}", f"{host}:{http}", f"{host}:{metrics}", home, process)
    try:
        triton.wait("ready")
        yield triton
    finally:
        stop(triton)


def stop(triton: Triton) -> None:
    """SIGTERM, and force when that is not enough; fails when it was not."""
    process = triton.process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait(10)
            pytest.fail("the supervisor did not stop in time")


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """All public models on the real repository."""
    installed_tree()
    need_models(ROOT / "model_repository", PUBLIC)
    # Nothing is done to it, so that its canaries, clips among them, need not fly beside every test.
    with running_triton(tmp_path_factory.mktemp("triton"), settings={"canary_period_s": "30"}) as server:
        yield server
