"""The configurations for TensorRT against graphs, the decoders' buckets and the orchestrator's limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from tritonclient.grpc import model_config_pb2

from export.attention_steps import ATTEND, attention_graph
from export.graphs import GRAPHS
from export.profile import load_profile
from export.qdq import write_plain
from export.reranker_steps import RERANK, reranker_graph
from export.settings import Settings as ExportSettings
from export.tensorrt_plan import CAPABILITIES, GRAPH, plan_name
from export.tensorrt_rules import violations
from export.tensorrt_shapes import Shapes, covers, profiles
from media import AUDIO_BUCKETS_S, SAMPLE_RATE_HZ, TOKEN_BUCKETS
from orchestrator.settings import AdmissionSettings, RerankSettings
from serving.repository import read_config

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
PROFILE = load_profile("lite")
MODELS = sorted(PROFILE.tensorrt)
VARIANTS = ("tensorrt", "onnxruntime_tensorrt")
Sizes = dict[str, tuple[int, ...]]


def axes_of(model: str) -> dict[str, tuple[str | int, ...]]:
    # neither needs its weights to name its tensors
    trained = {RERANK: reranker_graph, ATTEND: attention_graph}
    graph = trained[model](None) if model in trained else GRAPHS[model]  # type: ignore[arg-type]
    return graph.inputs


def config_of(model: str, variant: str = "") -> model_config_pb2.ModelConfig:
    home = REPOSITORY / model
    return read_config(home / "configs" / f"{variant}.pbtxt" if variant else home / "config.pbtxt")


def requests(model: str) -> Iterator[Sizes]:
    """Shapes that can come: every bucket and limit, alone and in the fullest batch."""
    config = config_of(model)
    parts = AdmissionSettings().max_parts
    sizes: dict[str, tuple[int, ...]] = {
        "length": TOKEN_BUCKETS
        if model == "encode_text"
        else tuple(seconds * SAMPLE_RATE_HZ for seconds in AUDIO_BUCKETS_S),
        "parts": (1, parts),
        "vectors": (1, 2 * parts),  # a sound is a vector, and its transcript another
        "candidates": (1, RerankSettings().pool, 200),
    }
    axes = axes_of(model)
    named = sorted({axis for shape in axes.values() for axis in shape if isinstance(axis, str)} - {"batch"})
    combinations: list[dict[str, int]] = [{}]
    for axis in named:
        combinations = [{**each, axis: size} for each in combinations for size in sizes[axis]]
    for each in combinations:
        for batch in (1, config.max_batch_size):
            known = {**each, "batch": batch}
            yield {
                name: tuple(axis if isinstance(axis, int) else known[axis] for axis in shape)
                for name, shape in axes.items()
            }


def test_every_graph_of_the_profile_has_a_recipe_and_both_configurations() -> None:
    graphs = {
        path.parent.name for path in REPOSITORY.glob("*/config.pbtxt") if "onnxruntime" in path.read_text()
    }
    assert set(MODELS) == {name for name in graphs if config_of(name).backend == "onnxruntime"}
    for variant in VARIANTS:
        assert {path.parent.parent.name for path in REPOSITORY.glob(f"*/configs/{variant}.pbtxt")} == set(
            MODELS
        )


@pytest.mark.parametrize("model", MODELS)
def test_profiles_cover_all_that_the_decoders_give(model: str) -> None:
    shapes = profiles(axes_of(model), PROFILE.tensorrt[model])
    for request in requests(model):
        assert any(covers(profile, request) for profile in shapes), request
    for profile in shapes:
        for bounds in profile.values():
            assert all(a <= b <= c for a, b, c in zip(*bounds.values(), strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_the_plans_configuration_uses_every_profile_and_names_every_gpu(model: str) -> None:
    config = config_of(model, "tensorrt")
    assert config.backend == "tensorrt"
    assert PROFILE.tensorrt[model].max_batch == config.max_batch_size
    (group,) = config.instance_group
    assert group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    count = len(profiles(axes_of(model), PROFILE.tensorrt[model]))
    assert list(group.profile) == [str(number) for number in range(count)]
    assert dict(config.cc_model_filenames) == {each: plan_name(each) for each in CAPABILITIES}


@pytest.mark.parametrize("model", MODELS)
def test_the_quick_start_serves_the_same_graph_within_one_wide_profile(model: str) -> None:
    config = config_of(model, "onnxruntime_tensorrt")
    assert config.backend == "onnxruntime"
    assert config.default_model_filename == GRAPH
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    told = accelerator.parameters
    assert "precision_mode" not in told, "precision lives in the graph"
    assert not [key for key in told if "calibration" in key]
    profile: Shapes = {}
    for bound in ("min", "opt", "max"):
        for entry in told[f"trt_profile_{bound}_shapes"].split(","):
            name, _, sides = entry.partition(":")
            profile.setdefault(name, {})[bound] = [int(side) for side in sides.split("x")]
    for request in requests(model):
        assert covers(profile, request), request


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model", MODELS)
def test_warm_up_is_that_of_the_plain_configuration(model: str, variant: str) -> None:
    assert list(config_of(model, variant).model_warmup) == list(config_of(model).model_warmup)
    assert not config_of(model, variant).parameters, "threads and spinning are the processor's"


def newest(model: str) -> Path:
    versions = [int(path.name) for path in (REPOSITORY / model).glob("[1-9]*") if path.name.isdecimal()]
    return REPOSITORY / model / str(max(versions, default=1))


@pytest.mark.parametrize("model", MODELS)
def test_the_fp32_graph_is_one_that_tensorrt_takes(model: str, tmp_path: Path) -> None:
    """Opset, operators and types of the graphs that recipes begin from; no dynamic quantisation."""
    full = newest(model) / "model.fp32.onnx"
    source = full if full.is_file() else newest(model) / "model.onnx"
    if not source.is_file():
        pytest.skip(f"{model} is not built: run `make models`")
    write_plain(source, tmp_path / "plain.onnx")
    graph = onnx.load(str(tmp_path / "plain.onnx")).graph
    config = config_of(model, "tensorrt")
    for entries, tensors in ((config.input, graph.input), (config.output, graph.output)):
        assert {entry.name for entry in entries} == {tensor.name for tensor in tensors}


@pytest.mark.parametrize("model", MODELS)
def test_a_graph_with_qdq_keeps_to_the_rules(model: str) -> None:
    made = [newest(model) / GRAPH, ExportSettings().work(PROFILE.name) / model / "qdq.onnx"]
    there = [path for path in made if path.is_file()]
    if not there:
        pytest.skip(f"no graph of {model} for TensorRT: run `python -m export qdq`")
    for path in there:
        assert violations(onnx.load(str(path))) == []


@pytest.mark.parametrize("model", MODELS)
def test_the_processors_int8_graph_is_none_for_tensorrt(model: str) -> None:
    """Its dynamic quantisation is what the rules are there to keep out."""
    path = newest(model) / "model.onnx"
    if not (newest(model) / "model.fp32.onnx").is_file():
        pytest.skip(f"{model} is not served in INT8")
    assert violations(onnx.load(str(path)))
