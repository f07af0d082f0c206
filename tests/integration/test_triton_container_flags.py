"""The containers' flags on the server that is here: it knows them all, and its control APIs are closed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from fixtures_triton import ROOT, free_ports, installed_tree, need_models
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import InferenceServerClient, InferInput, service_pb2, service_pb2_grpc

from serving import Settings
from serving.flags import container_flags
from serving.leftovers import mark, sweep
from serving.probe import PROBED, probe
from serving.server import environment

KEY = "a-key-of-the-test-alone"
READY_S = 120.0


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Spans that came, as OTLP's JSON has them, and the URL that takes them."""
    spans: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            for resource in body["resourceSpans"]:
                spans.extend(span for scope in resource["scopeSpans"] for span in scope["spans"])
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield spans, f"http://127.0.0.1:{server.server_port}/v1/traces"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def container(
    tmp_path_factory: pytest.TempPathFactory, collector: tuple[list[dict[str, Any]], str]
) -> Iterator[tuple[str, str]]:
    """deploy/triton/start.sh with the containers' flags, but for places and ports: (HTTP URL, gRPC)."""
    tree = installed_tree()
    need_models(ROOT / "model_repository", ("embed_text",))
    home = tmp_path_factory.mktemp("container")
    settings = Settings(home=home)
    (home / "key").write_text(f"{KEY}\n")
    http, grpc_port, metrics = free_ports(3)
    prefix = mark(home)
    places = [
        f"--model-repository={ROOT / 'model_repository'}",
        f"--backend-directory={tree / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--backend-config=onnxruntime,shm-region-prefix-name={prefix}",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
        f"--http-port={http}",
        f"--grpc-port={grpc_port}",
        f"--metrics-port={metrics}",
        "--load-model=embed_text",
    ]
    replaced = ("--model-repository=", "--http-port=", "--grpc-port=", "--metrics-port=", "--load-model=")
    flags = [flag for flag in container_flags(gpu=False) if not flag.startswith(replaced)]
    child = environment(settings, os.environ) | {
        "TRITON_CONTROL_KEY_FILE": str(home / "key"),
        "TRITON_TRACE_URL": collector[1],
        "OTEL_BSP_SCHEDULE_DELAY": "100",  # ms between two exports, in place of 5 s
        "LD_LIBRARY_PATH": str(tree / "lib"),
    }
    child["PATH"] = f"{child['PATH']}:{tree / 'bin'}"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", str(ROOT / "deploy/triton/start.sh"), *flags, *places],
            env=child,
            stdout=log,
            stderr=log,
        )
    try:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(f"127.0.0.1:{grpc_port}"))
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if stub.ModelReady(service_pb2.ModelReadyRequest(name="embed_text"), timeout=2).ready:
                    break
            except grpc.RpcError:
                time.sleep(0.2)
        else:
            pytest.fail((home / "log").read_text()[-2000:])
        yield f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc_port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        sweep(prefix, 5.0)


def test_a_server_without_a_long_key_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "deploy/triton/start.sh")],
        env={"PATH": os.environ["PATH"], "TRITON_CONTROL_KEY_FILE": str(tmp_path / "key")},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert "16 characters" in done.stderr


def test_models_are_controlled_by_the_key_alone(container: tuple[str, str]) -> None:
    with grpc.insecure_channel(container[1]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for metadata in ((), (("triton-grpc-protocol-sensorium-control", "x" * 20),)):
            for call, request in (
                (
                    stub.RepositoryModelUnload,
                    service_pb2.RepositoryModelUnloadRequest(model_name="embed_text"),
                ),
                (stub.RepositoryIndex, service_pb2.RepositoryIndexRequest()),
                (stub.SystemSharedMemoryStatus, service_pb2.SystemSharedMemoryStatusRequest()),
            ):
                with pytest.raises(grpc.RpcError) as refusal:
                    call(request, timeout=10, metadata=metadata)
                assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        key = (("triton-grpc-protocol-sensorium-control", KEY),)
        index = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), timeout=10, metadata=key)
        assert "embed_text" in {model.name for model in index.models}
        # What the orchestrator asks, it may ask without the key.
        metadata_of = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="embed_text"), timeout=10)
        assert list(metadata_of.versions) == ["1"]


def test_kubernetes_may_ask_for_health(container: tuple[str, str]) -> None:
    with grpc.insecure_channel(container[1]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_triton_traces_what_its_caller_has_sampled_and_nothing_else(
    container: tuple[str, str], collector: tuple[list[dict[str, Any]], str]
) -> None:
    spans, _ = collector
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    words = "zyxomma in a pond"
    content = np.array([[words]], dtype=object)
    with InferenceServerClient(container[1]) as client:
        tensor = InferInput("text", [1, 1], "BYTES")
        tensor.set_data_from_numpy(content)
        client.infer("embed_text", [tensor])
        client.infer("embed_text", [tensor], headers={"traceparent": f"00-{trace}-{parent}-01"})
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and parent not in {span.get("parentSpanId") for span in spans}:
        time.sleep(0.05)
    assert {span["traceId"] for span in spans} == {trace}
    (top,) = [span for span in spans if span["parentSpanId"] == parent]
    ours = {span["name"] for span in spans if span["parentSpanId"] == top["spanId"]}
    assert ours == {"embed_text"}
    assert words not in json.dumps(spans)


def test_the_probe_infers(container: tuple[str, str]) -> None:
    assert probe(container[0], "embed_text", 30) == ""
    assert set(PROBED) == {"embed_text", "embed_image", "embed_audio", "embed_video", "transcribe_audio"}


def test_the_probe_says_what_does_not_answer(container: tuple[str, str]) -> None:
    assert probe(container[0], "embed_image", 10).startswith("embed_image: ")


def test_every_flag_is_one_that_the_server_knows() -> None:
    tree = installed_tree()
    binary = tree / "bin" / "tritonserver"
    assert shutil.which(str(binary))
    shown = subprocess.run(
        [str(binary), "--help"],
        env={"LD_LIBRARY_PATH": str(tree / "lib")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    usage = shown.stdout + shown.stderr
    flags = {flag.partition("=")[0] for gpu in (False, True) for flag in container_flags(gpu=gpu)}
    script = (ROOT / "deploy/triton/start.sh").read_text()
    flags |= {
        part.partition("=")[0]
        for part in script.replace('"', " ").split()
        if part.startswith("--") and part != "--"
    }
    assert not {flag for flag in flags if f"{flag} " not in usage and f"{flag}\n" not in usage}
