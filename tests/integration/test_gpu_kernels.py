"""The GPU kernels as far as a machine without a GPU can prove them, against the definition in float64: the
Triton kernel by Triton's interpreter; the CUDA kernel compiled by nvcc, and its source run on the host, a
thread of the GPU as a fiber (tests/cuda_host)."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_cases import CASES, Case, check, expected, inputs

from kernels import DeviceError
from kernels.cuda_path import ARCHITECTURES, FLAGS, SOURCE, build, load, run

TESTS = Path(__file__).parents[1]
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-6, torch.bfloat16: 1e-6}
"""Of scores of unit rows, which are the same in float64: products are exact, sums are float32."""


def child(name: str, out: Path, **environment: str) -> None:
    """Runs one of the children in ``tests``, which writes ``out``."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("the Triton language is needed: pip install -e '.[test]' -c constraints.txt")
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(TESTS / name), str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    out = tmp_path_factory.mktemp("triton") / "found.npz"
    child("kernel_interpreted_child.py", out, TRITON_INTERPRET="1")
    with np.load(out) as found:
        return dict(found)


def test_the_triton_kernel_compiles_for_each_architecture(tmp_path: Path) -> None:
    """To machine code, by the ptxas of Triton's own wheel; with tensor cores where the type has them."""
    out = tmp_path / "compiled.json"
    child("kernel_compiled_child.py", out, TRITON_CACHE_DIR=str(tmp_path), TRITON_DEFAULT_FP_FUSION="1")
    found = json.loads(out.read_text())
    assert set(found) == {"80/fp32", "90/bf16"}
    for each in found.values():
        assert each["cubin_bytes"] > 10_000
        assert each["shared_bytes"] <= 96 * 1024, "what every GPU of these has for a block"
    assert found["90/bf16"]["tensor_core_products"] > 0
    assert found["80/fp32"]["tensor_core_products"] == 0, "exact products, not TF32"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_triton_kernel_is_the_definition(
    interpreted: dict[str, np.ndarray], case: Case, dtype: torch.dtype
) -> None:
    truth = expected(*inputs(case, dtype), case.temperature)
    scores = interpreted[f"{case.name}/{dtype}/scores"]
    candidates = interpreted[f"{case.name}/{dtype}/candidates"]
    check(scores, candidates, truth, case.k, TOLERANCE[dtype])


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = shutil.which("nvcc")
    if found is None:
        pytest.skip("nvcc is needed to compile the CUDA kernel: CUDA toolkit 12 or later on the path")
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_cuda_kernel_compiles_without_a_warning(nvcc: str, architecture: str, tmp_path: Path) -> None:
    made = tmp_path / "attend.cubin"
    warnings = ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"]
    command = [nvcc, *FLAGS, *warnings, f"-arch=sm_{architecture}", "-cubin", "-o", str(made), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert made.read_bytes().startswith(b"\x7fELF")


def test_the_cuda_library_holds_each_architecture_and_is_built_once(nvcc: str, tmp_path: Path) -> None:
    library = build(tmp_path)
    content = library.read_bytes()
    assert all(f"sm_{architecture}".encode() in content for architecture in ARCHITECTURES)
    written = library.stat().st_mtime_ns
    assert build(tmp_path) == library
    assert library.stat().st_mtime_ns == written


def test_without_nvcc_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="nvcc"):
        build(tmp_path)


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("g++") is None:
        pytest.skip("g++ is needed to run the CUDA kernel's source on the host: apt-get install g++")
    made = tmp_path_factory.mktemp("host") / "attend.so"
    flags = ["-O2", "-std=c++17", "-mf16c", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    command = ["g++", *flags, "-I", str(TESTS / "cuda_host"), "-x", "c++", str(SOURCE), "-o", str(made)]
    subprocess.run(command, check=True, timeout=240)
    return load(made)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_cuda_source_on_the_host_is_the_definition(
    on_host: ctypes.CDLL, case: Case, dtype: torch.dtype
) -> None:
    sets = inputs(case, dtype)
    scores, candidates = run(on_host, *sets, case.k, case.temperature, stream=0)
    truth = expected(*sets, case.temperature)
    check(scores.numpy(), candidates.numpy(), truth, case.k, TOLERANCE[dtype])
