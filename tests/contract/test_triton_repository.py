"""The model repository against the table in docs/architecture.md, against itself, and against the ONNX
graphs.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from tritonclient.grpc import model_config_pb2

from media import AUDIO_BUCKETS_S, SAMPLE_RATE_HZ, TOKEN_BUCKETS
from orchestrator.settings import RerankSettings
from serving.repository import read_config

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
NAMES = sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))
GRAPHS = [name for name in NAMES if name.startswith("encode_") or name in ("attend", "rerank")]
ENSEMBLES = [name for name in NAMES if name.startswith("embed_")]

# What the table's types are called in config.pbtxt and in ONNX.
CONFIG_TYPES = {"BYTES": "TYPE_STRING"}
ONNX_TYPES = {
    "TYPE_FP32": onnx.TensorProto.FLOAT,
    "TYPE_INT64": onnx.TensorProto.INT64,
    "TYPE_UINT8": onnx.TensorProto.UINT8,
}
Tensors = dict[str, tuple[str, tuple[int, ...]]]


def config_of(name: str) -> model_config_pb2.ModelConfig:
    return read_config(REPOSITORY / name / "config.pbtxt")


def tensors(entries: object) -> Tensors:
    return {
        entry.name: (model_config_pb2.DataType.Name(entry.data_type), tuple(entry.dims))
        for entry in entries  # type: ignore[attr-defined]
    }


def table() -> dict[str, tuple[str, str, str]]:
    """model -> (kind, inputs, outputs), as written in the architecture's table."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {name: (kind, inputs, outputs) for name, kind, inputs, outputs in rows}


def written(cell: str) -> Tensors:
    """Tensors of a table cell that carry a type; a letter as size is any size."""
    found = re.findall(r"`(\w+)` ([A-Z]+\d*)\[([\w,]+)\]", cell)
    return {
        name: (
            CONFIG_TYPES.get(dtype, f"TYPE_{dtype}"),
            tuple(int(size) if size.isdecimal() else -1 for size in dims.split(",")),
        )
        for name, dtype, dims in found
    }


def test_the_repository_holds_exactly_the_models_of_the_table() -> None:
    assert sorted(table()) == NAMES
    assert len(NAMES) == 15


@pytest.mark.parametrize("name", NAMES)
def test_config_agrees_with_the_table(name: str) -> None:
    kind, inputs, outputs = table()[name]
    config = config_of(name)
    assert kind == (config.platform or config.backend)
    # A clip is eight pictures: 32 of them took 12 GB and ran at half the speed of one at a time. A row of the
    # re-ranker is a query with all its candidates, 0.8 MB. Sounds are heard one by one.
    smaller = dict.fromkeys(("embed_video", "decode_video", "encode_video", "transcribe_audio"), 4)
    smaller |= {"rerank": 8, "attend": 8}
    assert config.max_batch_size == smaller.get(config.name, 32)
    for cell, entries in ((inputs, config.input), (outputs, config.output)):
        stated, actual = written(cell), tensors(entries)
        assert set(re.findall(r"`(\w+)`", cell)) == set(actual)
        assert stated == {tensor: actual[tensor] for tensor in stated}


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("*/configs/*.pbtxt")), ids=str)
def test_another_configuration_is_the_same_model_to_its_clients(path: Path) -> None:
    other, plain = read_config(path), config_of(path.parent.parent.name)
    assert tensors(other.input) == tensors(plain.input)
    assert tensors(other.output) == tensors(plain.output)
    assert other.max_batch_size == plain.max_batch_size
    assert other.response_cache.enable == plain.response_cache.enable
    assert other.dynamic_batching.max_queue_delay_microseconds == 0


def test_text_in_one_process_has_the_threads_of_its_encoder() -> None:
    other = read_config(REPOSITORY / "embed_text" / "configs" / "embedded.pbtxt")
    assert dict(other.parameters.items()) == dict(config_of("encode_text").parameters.items())


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles_are_wired_to_tensors_of_equal_type_and_shape(name: str) -> None:
    config = config_of(name)
    known = tensors(config.input)
    for step in config.ensemble_scheduling.step:
        inner = config_of(step.model_name)
        required = {entry.name for entry in inner.input if not entry.optional}
        assert required <= set(step.input_map)
        for tensor, source in step.input_map.items():
            assert tensors(inner.input)[tensor] == known[source]
        for tensor, target in step.output_map.items():
            known[target] = tensors(inner.output)[tensor]
    assert tensors(config.output).items() <= known.items()
    assert len(tensors(config.output)) > 0


@pytest.mark.parametrize("name", GRAPHS)
def test_configs_agree_with_their_graphs(name: str) -> None:
    built = [int(path.parent.name) for path in (REPOSITORY / name).glob("[0-9]*/model.onnx")]
    path = REPOSITORY / name / str(max(built, default=1)) / "model.onnx"
    if not path.is_file():
        pytest.skip(f"{name} is not built: run `make models`")
    graph = onnx.load(path, load_external_data=False).graph
    config = config_of(name)
    initialisers = {tensor.name for tensor in graph.initializer}
    for entries, nodes in ((config.input, graph.input), (config.output, graph.output)):
        actual = {
            node.name: (
                node.type.tensor_type.elem_type,
                [
                    dim.dim_value if dim.HasField("dim_value") else -1
                    for dim in node.type.tensor_type.shape.dim
                ],
            )
            for node in nodes
            if node.name not in initialisers
        }
        assert set(actual) == set(tensors(entries))
        for tensor, (dtype, dims) in tensors(entries).items():
            elem_type, shape = actual[tensor]
            assert ONNX_TYPES[dtype] == elem_type
            assert len(shape) == 1 + len(dims), "the batch dimension stands in front"
            assert shape[0] == -1
            assert all(
                -1 in (ours, theirs) or ours == theirs for ours, theirs in zip(dims, shape[1:], strict=True)
            )


@pytest.mark.parametrize("name", GRAPHS)
def test_warm_up_uses_shapes_that_decoders_give(name: str) -> None:
    config = config_of(name)
    declared = tensors(config.input)
    buckets = {
        "input_ids": set(TOKEN_BUCKETS),
        "attention_mask": set(TOKEN_BUCKETS),
        "samples": {seconds * SAMPLE_RATE_HZ for seconds in AUDIO_BUCKETS_S},
        "mask": {seconds * SAMPLE_RATE_HZ for seconds in AUDIO_BUCKETS_S},
    }
    assert len(config.model_warmup) > 0
    for sample in config.model_warmup:
        assert 1 <= sample.batch_size <= config.max_batch_size
        assert set(sample.inputs) == set(declared)
        for tensor, value in sample.inputs.items():
            dtype, dims = declared[tensor]
            assert model_config_pb2.DataType.Name(value.data_type) == dtype
            if tensor in buckets:
                assert value.dims[0] in buckets[tensor]
            else:
                assert all(d in (-1, v) for d, v in zip(dims, value.dims, strict=True))
        if name == "rerank":
            # what a query of one vector sends: sizes of one name agree across tensors
            vectors, candidates = sample.inputs["query"].dims[0], sample.inputs["rows"].dims[0]
            assert list(sample.inputs["evidence"].dims) == [candidates, vectors, 4]
            assert [sample.inputs[tensor].dims[0] for tensor in ("query_kind", "query_weight")] == [
                vectors
            ] * 2
            assert (candidates, list(sample.inputs["fused"].dims)) == (RerankSettings().pool, [candidates])


@pytest.mark.parametrize("name", NAMES)
def test_no_request_waits_for_company(name: str) -> None:
    config = config_of(name)
    assert config.HasField("dynamic_batching") == (config.platform != "ensemble")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0


@pytest.mark.parametrize("name", NAMES)
def test_only_whole_requests_of_one_shape_are_cached(name: str) -> None:
    """The response cache hashes bytes without shapes: BYTES [1] alone is safe."""
    config = config_of(name)
    if config.response_cache.enable:
        assert [tuple(entry.dims) for entry in config.input] == [(1,)]
        assert config.input[0].data_type == model_config_pb2.DataType.TYPE_STRING
