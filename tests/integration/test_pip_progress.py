"""scripts/pip_progress.py around commands that write what pip writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "pip_progress.py"


def run(tmp_path: Path, lines: str, code: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys; print({lines!r}); sys.exit({code})"]
    return subprocess.run(
        [sys.executable, str(SCRIPT), "environment", "4", str(tmp_path / "run" / "pip.log"), *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_success_is_one_full_bar_and_a_log(tmp_path: Path) -> None:
    done = run(tmp_path, "Collecting numpy==2.1\nUsing cached numpy\nInstalling collected packages", 0)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "environment" in done.stderr
    assert "#" * 30 in done.stderr
    assert "Using cached numpy" in (tmp_path / "run" / "pip.log").read_text()


def test_failure_keeps_the_code_and_shows_the_end_of_the_log(tmp_path: Path) -> None:
    done = run(tmp_path, "Collecting numpy==2.1\nERROR: No matching distribution", 3)
    assert done.returncode == 3
    assert "failed" in done.stderr
    assert "ERROR: No matching distribution" in done.stderr
    assert "pip.log" in done.stderr
