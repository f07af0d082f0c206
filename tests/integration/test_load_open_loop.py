"""The locustfile in a process of its own, against a real gRPC server that is slow, full or broken."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cli.scratch import free_ports
from loadtests.arrivals import Phase, Traffic
from loadtests.payloads import INDEX
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

ROOT = Path(__file__).parents[2]
RATE, DURATION_S = 20.0, 3.0
POOLS = {"text": 2, "image": 1, "audio": 1, "video": 1}


@dataclass
class Slow(rpc.SensoriumServicer):
    """Answers after `delay_s`; turns every `full_every`-th search away and fails every `broken_every`-th."""

    delay_s: float = 0.0
    full_every: int = 0
    broken_every: int = 0
    came_s: list[float] = field(default_factory=list)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.Status:  # noqa: N802
        return pb.Status(items=5, embedding_version="test-1")

    async def Search(self, request: pb.SearchRequest, context: Any) -> pb.SearchResponse:  # noqa: N802
        self.came_s.append(asyncio.get_running_loop().time())
        place = len(self.came_s)
        await asyncio.sleep(self.delay_s)
        if self.full_every and place % self.full_every == 0:
            wait = (("retry-after-ms", "250"),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", wait)
        if self.broken_every and place % self.broken_every == 0:
            await context.abort(grpc.StatusCode.INTERNAL, "broken")
        stages = [pb.StageTime(stage="cache", ms=0.1), pb.StageTime(stage="embed", ms=1.5)]
        return pb.SearchResponse(stages=stages, total_ms=2.5, parts=[pb.PartInfo(cached=True)])


class Serving:
    """A gRPC server on a port of its own, in a loop of its own."""

    def __init__(self, servicer: Slow) -> None:
        self._servicer = servicer
        self._ready = threading.Event()
        self._over: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.target = ""

    def __enter__(self) -> Serving:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server()
        rpc.add_SensoriumServicer_to_server(self._servicer, server)  # type: ignore[no-untyped-call]
        self.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._ready.set()
        await self._over.wait()
        await server.stop(None)


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("payloads")
    (folder / "picture.jpg").write_bytes(b"x" * 1000)
    file = [{"file": "picture.jpg"}]
    queries = {
        "text": [{"text": "a frog"}, {"text": "ein Frosch"}],
        "image": file,
        "audio": file,
        "video": file,
    }
    (folder / INDEX).write_text(json.dumps({"made": {}, "queries": queries}))
    return folder


def run(
    payloads: Path, out: Path, target: str, *more: str, url: str = "http://127.0.0.1:9"
) -> dict[str, Any]:
    """The soak's figures of one run at RATE for DURATION_S."""
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "-u", "1"]
    command += ["--host", url, "--grpc-target", target, "--payloads", str(payloads), "--out", str(out)]
    command += ["--scenarios", "soak", "--soak-s", str(DURATION_S), "--warm-up-s", "0"]
    command += ["--saturation", str(RATE / 0.6), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((out / "loadtest.json").read_text())
    assert report["complete"]
    figures: dict[str, Any] = report["scenarios"]["soak"]
    return figures


def test_a_slow_server_does_not_slow_the_arrivals_down(payloads: Path, tmp_path: Path) -> None:
    """Each answer takes half of the run, so users who wait would ask twice; all the planned ones come, at the
    times of the plan: their distances are the same whatever the answers take."""
    planned = Traffic(POOLS, rest_share=0.0).plan("soak", [Phase("soak", RATE, DURATION_S)])
    slow = Slow(delay_s=DURATION_S / 2)
    with Serving(slow) as server:
        found = run(payloads, tmp_path, server.target, "--rest-share", "0")
    assert found["offered"] == found["sent"] == len(slow.came_s) == len(planned)
    assert found["failed"] == found["rejected"] == found["unsent"] == 0
    came, due = np.array(slow.came_s), np.array([arrival.due_s for arrival in planned])
    assert np.median(np.abs((came - came[0]) - (due - due[0]))) < DURATION_S / 10
    assert found["service_ms"]["all"]["p50"] >= 1000 * DURATION_S / 2
    assert found["stages_ms"]["text"]["embed"]["p50"] == 1.5
    assert found["cached_embeddings"] == found["answered"]
    assert found["cached_answers"] == 0


def test_rejections_and_failures_are_told_apart(payloads: Path, tmp_path: Path) -> None:
    odd = Slow(full_every=3, broken_every=4)
    with Serving(odd) as server:
        found = run(payloads, tmp_path, server.target, "--rest-share", "0")
    total = len(odd.came_s)
    assert found["rejected"] == found["codes"]["grpc"]["RESOURCE_EXHAUSTED"] == total // 3
    assert found["failed"] == found["codes"]["grpc"]["INTERNAL"] == total // 4 - total // 12
    assert found["admitted"] == total - found["rejected"]
    assert found["retry_after_s"]["n"] == found["rejected"]
    assert found["retry_after_s"]["max"] == 0.25


def test_what_the_client_may_not_send_is_counted(payloads: Path, tmp_path: Path) -> None:
    with Serving(Slow(delay_s=DURATION_S)) as server:
        found = run(payloads, tmp_path, server.target, "--rest-share", "0", "--max-outstanding", "5")
    assert found["unsent"] > 0
    assert found["offered"] == found["sent"] + found["unsent"]
    assert found["good_share"] < 0.5


def test_deadlines_pass_and_a_dead_rest_server_is_a_failure(payloads: Path, tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    with Serving(Slow(delay_s=DURATION_S)) as server:
        url = f"http://127.0.0.1:{closed}"
        found = run(payloads, tmp_path, server.target, "--deadline-s", "0.5", url=url)
    assert found["failed"] == found["offered"]
    assert set(found["codes"]["grpc"]) == {"DEADLINE_EXCEEDED"}
    assert set(found["codes"]["rest"]) == {"ConnectionRefusedError"}


def test_where_nothing_answers_the_run_fails_and_says_so(payloads: Path, tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "-u", "1"]
    command += ["--grpc-target", f"127.0.0.1:{closed}", "--payloads", str(payloads), "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "UnreachableError" in done.stderr
    assert not (tmp_path / "loadtest.json").exists()


def test_a_run_that_is_ended_keeps_what_it_measured(payloads: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "-u", "1"]
    command += ["--payloads", str(payloads), "--out", str(tmp_path), "--rest-share", "0", "--warm-up-s", "0"]
    command += ["--scenarios", "soak,overload", "--soak-s", "1", "--overload-s", "120", "--saturation", "20"]
    with Serving(Slow()) as server:
        command += ["--grpc-target", server.target]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
            assert run.stderr is not None
            assert any("overload: overload" in line for line in run.stderr)
            run.terminate()
            run.communicate(timeout=60)
    report = json.loads((tmp_path / "loadtest.json").read_text())
    assert not report["complete"]
    assert list(report["scenarios"]) == ["soak"]
    assert run.returncode == 1
