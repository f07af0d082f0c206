"""The Python-based `onnxruntime` backend in the real server, on graphs made for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from fixtures_triton import free_ports, installed_tree
from onnx import TensorProto, helper
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from serving import Settings
from serving.leftovers import server_processes
from serving.server import TritonServer

START_TIMEOUT_S = 90.0

IO = """
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "rows", data_type: %s, dims: [ 1 ] } ]
output [ { name: "values", data_type: TYPE_FP32, dims: [ 1, 2 ] } ]
output [ { name: "twice", data_type: TYPE_FP32, dims: [ 1, 2 ] } ]
output [ { name: "company", data_type: TYPE_INT64, dims: [ 1 ] } ]
dynamic_batching { max_queue_delay_microseconds: 20000 }
"""
GOOD = (
    IO % "TYPE_INT64"
    + """
default_model_filename: "table.onnx"
instance_group [ { count: 2 } ]
optimization { graph { level: 1 } }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
parameters { key: "execution_mode" value { string_value: "0" } }
parameters { key: "enable_mem_pattern" value { string_value: "false" } }
"""
)
# model -> (config.pbtxt, what its refusal says)
REFUSED = {
    "dtype": (IO % "TYPE_INT32", "TYPE_INT32 here"),
    "threads": (
        IO % "TYPE_INT64" + 'parameters { key: "intra_op_thread_count" value { string_value: "many" } }',
        "not an integer",
    ),
    "level": (IO % "TYPE_INT64" + "optimization { graph { level: 7 } }", "graph.level 7"),
    "file": (IO % "TYPE_INT64" + 'default_model_filename: "other.onnx"', "no other.onnx"),
}


def lookup_graph() -> onnx.ModelProto:
    """rows INT64[B, 1] -> values FP32[B, 1, 2] of a table of three rows, their doubles, company INT64[B, 1].

    Company is B, so that an answer tells how many rows were in its call.
    """
    table = helper.make_tensor("table", TensorProto.FLOAT, [3, 2], [0, 1, 10, 11, 20, 21])
    nodes = [
        helper.make_node("Gather", ["table", "rows"], ["values"]),
        helper.make_node("Add", ["values", "values"], ["twice"]),
        helper.make_node("Shape", ["rows"], ["shape"]),
        helper.make_node("Shape", ["rows"], ["size"], start=0, end=1),
        helper.make_node("Expand", ["size", "shape"], ["company"]),
    ]
    inputs = [helper.make_tensor_value_info("rows", TensorProto.INT64, ["batch", 1])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, 2])
        for name in ("values", "twice")
    ]
    outputs.append(helper.make_tensor_value_info("company", TensorProto.INT64, ["batch", 1]))
    graph = helper.make_graph(nodes, "lookup", inputs, outputs, [table])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServerClient]:
    home = tmp_path_factory.mktemp("backend")
    (home / "triton").symlink_to(installed_tree())
    (home / "run").mkdir()
    repository = home / "model_repository"
    configs = {"lookup": GOOD} | {name: config for name, (config, _) in REFUSED.items()}
    for name, config in configs.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config)
        onnx.save(
            lookup_graph(), repository / name / "1" / ("table.onnx" if name == "lookup" else "model.onnx")
        )
    http, grpc, metrics = free_ports(3)
    settings = Settings(
        home=home, model_repository=repository, http_port=http, grpc_port=grpc, metrics_port=metrics
    )
    server = TritonServer(settings, configs)
    server.start()
    try:
        with InferenceServerClient(f"127.0.0.1:{grpc}") as connection:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not is_ready(connection):
                assert server.exit_code is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield connection
    finally:
        asyncio.run(server.stop())
    assert server_processes(str(home)) == []


def is_ready(connection: InferenceServerClient) -> bool:
    try:
        return bool(connection.is_server_ready(client_timeout=2))
    except InferenceServerException:
        return False


def look_up(client: InferenceServerClient, rows: list[int], *outputs: str) -> dict[str, np.ndarray]:
    tensor = InferInput("rows", [len(rows), 1], "INT64")
    tensor.set_data_from_numpy(np.array(rows, np.int64)[:, None])
    names = outputs or ("values", "twice")
    wanted = [InferRequestedOutput(name) for name in names]
    result = client.infer("lookup", [tensor], outputs=wanted, client_timeout=30)
    return {name: result.as_numpy(name) for name in names}


def test_default_model_filename_and_both_outputs(client: InferenceServerClient) -> None:
    answer = look_up(client, [2, 0])
    assert answer["values"].tolist() == [[[20, 21]], [[0, 1]]]
    assert answer["twice"].tolist() == [[[40, 42]], [[0, 2]]]


def test_one_output_alone(client: InferenceServerClient) -> None:
    assert look_up(client, [1], "twice")["twice"].tolist() == [[[20, 22]]]


def test_answers_of_a_batch_go_to_their_requests(client: InferenceServerClient) -> None:
    rows = [[number % 3] * (1 + number % 2) for number in range(24)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda row: look_up(client, row), rows))
    for row, answer in zip(rows, answers, strict=True):
        assert answer["values"][:, 0, 0].tolist() == [10 * number for number in row]


def test_a_batch_is_one_call_of_the_graph(client: InferenceServerClient) -> None:
    before = statistics(client)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda row: look_up(client, [row % 3], "company"), range(64)))
    after = statistics(client)
    calls = sum(1 / int(answer["company"][0, 0]) for answer in answers)
    assert after["inference_count"] - before["inference_count"] == 64
    assert calls == pytest.approx(after["execution_count"] - before["execution_count"])
    assert calls <= 32


def statistics(client: InferenceServerClient) -> dict[str, int]:
    (model,) = client.get_inference_statistics("lookup", client_timeout=10).model_stats
    return {"inference_count": model.inference_count, "execution_count": model.execution_count}


def test_what_the_graph_refuses_fails_alone(client: InferenceServerClient) -> None:
    def answer(row: int) -> str:
        try:
            return str(look_up(client, [row])["values"][0, 0, 0])
        except InferenceServerException as error:
            return str(error.status())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, [0, 1, 99, 2, 0, 1, 2, 0])) == [
            "0.0", "10.0", "StatusCode.INVALID_ARGUMENT", "20.0", "0.0", "10.0", "20.0", "0.0",
        ]  # fmt: skip


@pytest.mark.parametrize("model", sorted(REFUSED))
def test_a_config_that_does_not_fit_is_not_loaded(client: InferenceServerClient, model: str) -> None:
    index = client.get_model_repository_index(client_timeout=10)
    (entry,) = [entry for entry in index.models if entry.name == model]
    assert entry.state == "UNAVAILABLE"
    assert REFUSED[model][1] in entry.reason
