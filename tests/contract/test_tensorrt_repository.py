"""The configurations for TensorRT against graphs, the decoders' buckets and the orchestrator's limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from tritonclient.grpc import model_config_pb2

from export.attention_steps import ATTEND, attention_graph
from export.encoded import graphs_of
from export.graphs import Graph
from export.layout import lay_out
from export.profile import Origin, load_profile
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
PROFILES = {
    "lite": PROFILE,
    **{name: load_profile(name, Origin(kind="random")) for name in ("reference", "open")},
}
SERVED = [(name, model) for name, profile in PROFILES.items() for model in sorted(profile.tensorrt)]
VARIANTS = ("tensorrt", "onnxruntime_tensorrt")
Sizes = dict[str, tuple[int, ...]]
Repositories = dict[str, Path]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Repositories:
    """The configurations of every profile, by its name."""
    found = {"lite": REPOSITORY}
    for name in sorted(set(PROFILES) - set(found)):
        found[name] = tmp_path_factory.mktemp(name)
        lay_out(PROFILES[name], ExportSettings().model_copy(update={"model_repository": found[name]}))
    return found


def graph_of(name: str, model: str) -> Graph:
    # models on embeddings need no weights to name their tensors
    on_embeddings = {RERANK: reranker_graph, ATTEND: attention_graph}
    if model in on_embeddings:
        return on_embeddings[model](None)  # type: ignore[arg-type]
    return graphs_of(PROFILES[name])[model]


def config_of(model: str, variant: str = "", repository: Path = REPOSITORY) -> model_config_pb2.ModelConfig:
    home = repository / model
    return read_config(home / "configs" / f"{variant}.pbtxt" if variant else home / "config.pbtxt")


def requests(name: str, model: str, repository: Path) -> Iterator[Sizes]:
    """Shapes that can come: every bucket and limit, alone and in the fullest batch."""
    config = config_of(model, repository=repository)
    parts = AdmissionSettings().max_parts
    sizes: dict[str, tuple[int, ...]] = {
        "length": TOKEN_BUCKETS
        if model == "encode_text"
        else tuple(seconds * SAMPLE_RATE_HZ for seconds in AUDIO_BUCKETS_S),
        "parts": (1, parts),
        "vectors": (1, 2 * parts),  # a sound is a vector, and its transcript another
        "candidates": (1, RerankSettings().pool, 200),
    }
    axes = graph_of(name, model).inputs
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


@pytest.mark.parametrize("name", PROFILES)
def test_every_graph_of_a_profile_has_a_recipe_and_both_configurations(
    name: str, repositories: Repositories
) -> None:
    repository, models = repositories[name], set(PROFILES[name].tensorrt)
    graphs = {
        path.parent.name for path in repository.glob("*/config.pbtxt") if "onnxruntime" in path.read_text()
    }
    assert models == {
        each for each in graphs if config_of(each, repository=repository).backend == "onnxruntime"
    }
    for variant in VARIANTS:
        assert {path.parent.parent.name for path in repository.glob(f"*/configs/{variant}.pbtxt")} == models


@pytest.mark.parametrize("variant", ["", *VARIANTS])
@pytest.mark.parametrize(("name", "model"), SERVED)
def test_a_configuration_names_the_graphs_tensors_and_their_sizes(
    name: str, model: str, variant: str, repositories: Repositories
) -> None:
    graph, config = graph_of(name, model), config_of(model, variant, repositories[name])
    assert {tensor.name: list(tensor.dims) for tensor in config.input} == {
        tensor: [-1 if isinstance(axis, str) else axis for axis in axes[1:]]
        for tensor, axes in graph.inputs.items()
    }
    assert {tensor.name for tensor in config.output} == set(graph.outputs)


@pytest.mark.parametrize(("name", "model"), SERVED)
def test_profiles_cover_all_that_the_decoders_give(name: str, model: str, repositories: Repositories) -> None:
    shapes = profiles(graph_of(name, model).inputs, PROFILES[name].tensorrt[model])
    for request in requests(name, model, repositories[name]):
        assert any(covers(profile, request) for profile in shapes), request
    for profile in shapes:
        for bounds in profile.values():
            assert all(a <= b <= c for a, b, c in zip(*bounds.values(), strict=True))


@pytest.mark.parametrize(("name", "model"), SERVED)
def test_the_plans_configuration_uses_every_profile_and_names_every_gpu(
    name: str, model: str, repositories: Repositories
) -> None:
    config, recipe = config_of(model, "tensorrt", repositories[name]), PROFILES[name].tensorrt[model]
    assert config.backend == "tensorrt"
    assert recipe.max_batch == config.max_batch_size
    (group,) = config.instance_group
    assert group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    count = len(profiles(graph_of(name, model).inputs, recipe))
    assert list(group.profile) == [str(number) for number in range(count)]
    assert dict(config.cc_model_filenames) == {each: plan_name(each) for each in CAPABILITIES}


@pytest.mark.parametrize(("name", "model"), SERVED)
def test_the_quick_start_serves_the_same_graph_within_one_wide_profile(
    name: str, model: str, repositories: Repositories
) -> None:
    config = config_of(model, "onnxruntime_tensorrt", repositories[name])
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
            tensor, _, sides = entry.partition(":")
            profile.setdefault(tensor, {})[bound] = [int(side) for side in sides.split("x")]
    for request in requests(name, model, repositories[name]):
        assert covers(profile, request), request


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "model"), SERVED)
def test_warm_up_is_that_of_the_plain_configuration(
    name: str, model: str, variant: str, repositories: Repositories
) -> None:
    config, plain = (config_of(model, each, repositories[name]) for each in (variant, ""))
    assert list(config.model_warmup) == list(plain.model_warmup)
    assert not config.parameters, "threads and spinning are the processor's"


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
    write_plain(source, {"plain.onnx": tmp_path / "plain.onnx"})
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
