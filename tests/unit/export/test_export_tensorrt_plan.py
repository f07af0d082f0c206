"""Plans: what is kept and named, and what is said where there is no GPU."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from export.__main__ import app
from export.errors import NoGpuError, ProfileError, TensorRTError
from export.profile import Range, TensorRT, load_profile
from export.tensorrt_job import alone, check_whole
from export.tensorrt_plan import GRAPH, MANIFEST, Device, build_plans, find_device, plan_name
from export.tensorrt_shapes import BUCKETS, covers, profiles

DEVICE = Device("a GPU", "8.6", "600.1", "11.4.0")
SHAPES = [{"x": {"min": [1, 8], "opt": [8, 8], "max": [32, 8]}}]


def has_gpu() -> bool:
    try:
        find_device()
    except NoGpuError as error:  # also where there is one, without TensorRT
        return not str(error).startswith("no NVIDIA GPU")
    except TensorRTError:
        return True
    return True


def install(repository: Path, model: str, version: str, graph: bytes) -> Path:
    folder = repository / model / version
    folder.mkdir(parents=True)
    (folder / GRAPH).write_bytes(graph)
    said = {"graph": {"file": GRAPH, "sha256": hashlib.sha256(graph).hexdigest()}, "profiles": SHAPES}
    (folder / MANIFEST).write_text(json.dumps(said))
    return folder


class Builder:
    """Makes bytes that depend on what a plan depends on, and remembers being asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, graph: Path, shapes: list[Any], timing: Path) -> bytes:
        self.asked.append((graph.parent.parent.name, timing.name))
        return b"plan of " + graph.read_bytes() + json.dumps(shapes).encode()


def test_a_plan_is_installed_under_the_name_of_its_capability_and_kept(tmp_path: Path) -> None:
    folder, build = install(tmp_path / "models", "encode_text", "3", b"graph"), Builder()
    install(tmp_path / "models", "encode_text", "2", b"older")
    for _ in range(2):
        built = build_plans(tmp_path / "models", tmp_path / "cache", DEVICE, build=build, say=lambda _: None)
    assert build.asked == [("encode_text", "timing-trt11.4.0-sm86.cache")], "the second one is from the cache"
    plan = (folder / plan_name("8.6")).read_bytes()
    assert plan.startswith(b"plan of graph")
    said = json.loads((folder / MANIFEST).read_text())
    assert said["plans"] == {"8.6": built["encode_text"]}
    assert said["plans"]["8.6"] == {
        "file": "model.sm86.plan",
        "sha256": hashlib.sha256(plan).hexdigest(),
        "graph_sha256": hashlib.sha256(b"graph").hexdigest(),
        "tensorrt": "11.4.0",
        "gpu": "a GPU",
        "driver": "600.1",
        "bytes": len(plan),
    }
    assert not (tmp_path / "models/encode_text/2" / plan_name("8.6")).exists(), "only the newest is served"


@pytest.mark.parametrize(
    "other",
    [Device("a GPU", "9.0", "600.1", "11.4.0"), Device("a GPU", "8.6", "600.1", "11.5.0")],
    ids=["capability", "version"],
)
def test_another_gpu_or_version_gets_a_plan_of_its_own(tmp_path: Path, other: Device) -> None:
    folder, build = install(tmp_path / "models", "encode_text", "1", b"graph"), Builder()
    for device in (DEVICE, other, DEVICE, other):
        build_plans(tmp_path / "models", tmp_path / "cache", device, build=build, say=lambda _: None)
    assert [timing for _, timing in build.asked] == [f"timing-{each.key}.cache" for each in (DEVICE, other)]
    assert set(json.loads((folder / MANIFEST).read_text())["plans"]) == {"8.6", other.capability}


def test_other_shapes_or_another_graph_are_built_again(tmp_path: Path) -> None:
    folder, build = install(tmp_path / "models", "encode_text", "1", b"graph"), Builder()
    cache = tmp_path / "cache"
    build_plans(tmp_path / "models", cache, DEVICE, build=build, say=lambda _: None)
    said = json.loads((folder / MANIFEST).read_text())
    said["profiles"][0]["x"]["max"] = [64, 8]
    (folder / MANIFEST).write_text(json.dumps(said))
    build_plans(tmp_path / "models", cache, DEVICE, build=build, say=lambda _: None)
    assert len(build.asked) == 2
    (folder / GRAPH).write_bytes(b"changed")
    with pytest.raises(TensorRTError, match="install it again"):
        build_plans(tmp_path / "models", cache, DEVICE, build=build, say=lambda _: None)


def test_the_job_waits_for_an_export_that_is_still_writing(tmp_path: Path) -> None:
    with pytest.raises(TensorRTError, match=r"no finished export.*let it end first"):
        check_whole(tmp_path)
    for model in ("encode_text", "encode_image"):
        install(tmp_path, model, "1", b"graph")
    named = {model: hashlib.sha256(b"graph").hexdigest() for model in ("encode_text", "encode_image")}
    said = tmp_path / "embedding.json"
    said.write_text(json.dumps({"tensorrt": named}))
    check_whole(tmp_path)
    install(tmp_path, "encode_text", "2", b"next")
    with pytest.raises(TensorRTError, match="other graphs of encode_text: let the export end first"):
        check_whole(tmp_path)
    said.write_text(json.dumps({"tensorrt": {**named, "rerank": "0" * 64}}))
    with pytest.raises(TensorRTError, match="other graphs of encode_text, rerank"):
        check_whole(tmp_path)
    said.write_text("{}")
    with pytest.raises(TensorRTError, match="--target tensorrt-graphs"):
        check_whole(tmp_path)


def test_jobs_go_one_after_the_other(tmp_path: Path) -> None:
    """Two servers that start together: the second one finds the plans of the first."""
    install(tmp_path / "models", "encode_text", "1", b"graph")
    build, began, cache = Builder(), threading.Event(), tmp_path / "cache"

    def slow(graph: Path, shapes: list[Any], timing: Path) -> bytes:
        began.set()
        time.sleep(0.3)
        return build(graph, shapes, timing)

    def job() -> None:
        with alone(cache):
            build_plans(tmp_path / "models", cache, DEVICE, build=slow, say=lambda _: None)

    jobs = [threading.Thread(target=job) for _ in range(2)]
    jobs[0].start()
    assert began.wait(10)
    jobs[1].start()
    for each in jobs:
        each.join(10)
    assert len(build.asked) == 1


def test_tensors_beside_a_graph_are_part_of_it(tmp_path: Path) -> None:
    folder, build = install(tmp_path / "models", "encode_text", "1", b"graph"), Builder()
    said = json.loads((folder / MANIFEST).read_text())
    for tensors in (b"some", b"others"):
        (folder / "tensorrt.data").write_bytes(tensors)
        said["graph"]["beside"] = {"tensorrt.data": hashlib.sha256(tensors).hexdigest()}
        (folder / MANIFEST).write_text(json.dumps(said))
        build_plans(tmp_path / "models", tmp_path / "cache", DEVICE, build=build, say=lambda _: None)
    assert len(build.asked) == 2, "the graph's own file is the same"
    (folder / "tensorrt.data").write_bytes(b"changed")
    with pytest.raises(TensorRTError, match=r"tensorrt\.data is not what"):
        build_plans(tmp_path / "models", tmp_path / "cache", DEVICE, build=build, say=lambda _: None)


def test_without_graphs_it_says_which_command_makes_them(tmp_path: Path) -> None:
    with pytest.raises(TensorRTError, match="--target tensorrt-graphs"):
        build_plans(tmp_path, tmp_path / "cache", DEVICE, build=Builder())


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_a_gpu_the_export_says_so_before_it_does_anything() -> None:
    result = CliRunner().invoke(app, ["--target", "tensorrt"])
    assert result.exit_code == 1
    assert "NoGpuError: no NVIDIA GPU to build for" in result.output
    assert "--target tensorrt-graphs" in result.output


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_the_job_of_the_container_says_so_too(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "export.tensorrt_job",
        "--repository",
        str(tmp_path),
        "--cache",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("NoGpuError: no NVIDIA GPU")


def test_a_profile_for_each_bucket_and_a_range_for_the_rest() -> None:
    recipe = TensorRT(
        int8="^/", calibration=8, max_batch=4, sizes={"length": "tokens", "parts": Range(min=1, opt=2, max=8)}
    )
    made = profiles({"ids": ("batch", "length"), "part": ("batch", "parts", 5)}, recipe)
    assert [each["ids"]["min"][1] for each in made] == list(BUCKETS["tokens"])
    assert made[0] == {
        "ids": {"min": [1, 8], "opt": [4, 8], "max": [4, 8]},
        "part": {"min": [1, 1, 5], "opt": [4, 2, 5], "max": [4, 8, 5]},
    }
    assert covers(made[0], {"ids": (3, 8), "part": (3, 7, 5)})
    for wrong in ({"ids": (5, 8), "part": (3, 7, 5)}, {"ids": (3, 16), "part": (3, 7, 5)}, {"ids": (3, 8)}):
        assert not covers(made[0], wrong)


def test_an_axis_that_nobody_sized_is_an_error() -> None:
    with pytest.raises(TensorRTError, match="length"):
        profiles({"ids": ("batch", "length")}, TensorRT(int8="^/", calibration=8, max_batch=4))


def test_a_recipe_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(load_profile.__globals__["PROFILES"]) / "lite.yaml").read_text()
    monkeypatch.setitem(load_profile.__globals__, "PROFILES", tmp_path)
    for wrong in ("{min: 3, opt: 2, max: 8}", "words"):
        (tmp_path / "lite.yaml").write_text(
            text.replace("{parts: {min: 1, opt: 2, max: 8}}", f"{{parts: {wrong}}}")
        )
        with pytest.raises(ProfileError, match="parts"):
            load_profile("lite")
