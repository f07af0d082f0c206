"""Two quick faults on a system of its own: nothing wrong, nothing lost, and well again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("espeak")
def test_a_killed_stub_and_a_killed_milvus_cost_no_item_and_no_wrong_answer(
    built_home: Path, generated_catalogue: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "cli.faults", "--only", "stub,milvus", "--out", str(tmp_path)]
    command += ["--catalogue", str(generated_catalogue), "--rate", "3"]
    environ = {**os.environ, "SENSORIUM_HOME": str(built_home)}
    done = subprocess.run(
        command, check=False, timeout=400, env=environ, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "faults.json").read_text())
    rows = {row["fault"]: row for row in report["rows"]}
    assert set(rows) == {"stub", "milvus"}
    for row in rows.values():
        assert row["requests"] > 5
        assert row["acknowledged"] > 0
        assert (row["wrong"], row["lost"], row["rows_lost"]) == (0, 0, 0)
        assert row["recover_s"] is not None
    assert rows["milvus"]["failed"] + rows["milvus"]["degraded"] > 0
