"""A few requests a second upon the whole system, over both protocols: nothing may fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_system import System

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("espeak")
def test_a_short_run_has_no_failures_over_both_protocols(
    system: System, built_home: Path, tmp_path: Path
) -> None:
    payloads = tmp_path / "payloads"
    environ = {**os.environ, "SENSORIUM_HOME": str(built_home)}
    prepare = [sys.executable, "-m", "loadtests.prepare", "--catalogue", str(system.catalogue)]
    subprocess.run(
        [*prepare, "--out", str(payloads), "--pool", "4"], check=True, timeout=240, env=environ, cwd=ROOT
    )
    index = json.loads((payloads / "index.json").read_text())
    assert {name: 0 < len(each) <= 4 for name, each in index["queries"].items()} == dict.fromkeys(
        ("text", "image", "audio", "video"), True
    )
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "-u", "1"]
    command += ["--host", system.rest_url, "--grpc-target", system.grpc_target, "--deadline-s", "60"]
    command += ["--payloads", str(payloads), "--out", str(tmp_path), "--scenarios", "soak", "--soak-s", "3"]
    command += ["--saturation", "8", "--warm-up-s", "0", "--html", str(tmp_path / "locust.html")]
    done = subprocess.run(command, check=False, timeout=240, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    soak = json.loads((tmp_path / "loadtest.json").read_text())["scenarios"]["soak"]
    assert soak["offered"] == soak["answered"] > 5
    assert soak["failed"] == soak["rejected"] == soak["unsent"] == 0
    assert set(soak["codes"]["grpc"]) == {"OK"}
    assert set(soak["codes"]["rest"]) == {"200"}
    assert {"admit", "embed", "retrieve", "total"} <= set(soak["stages_ms"]["all"])
    assert (tmp_path / "locust.html").stat().st_size > 10_000
