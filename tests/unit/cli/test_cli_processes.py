from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cli import processes

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)",
]


def wait_for_line(log: str) -> str:
    for _ in range(200):
        if text := Path(log).read_text().strip():
            return text
        time.sleep(0.05)
    raise AssertionError("the child printed nothing")


def test_start_record_and_stop(tmp_path: Path) -> None:
    started = processes.start("sleeper", SLEEPER, tmp_path, {})
    assert wait_for_line(started.log) == "up"
    found = processes.read_record("sleeper", tmp_path)
    assert found == started
    assert processes.stop("sleeper", tmp_path, timeout_s=5)
    assert processes.read_record("sleeper", tmp_path) is None
    assert not processes.stop("sleeper", tmp_path, timeout_s=5)


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    started = processes.start("stubborn", STUBBORN, tmp_path, {})
    child = int(wait_for_line(started.log))
    assert processes.stop("stubborn", tmp_path, timeout_s=0.5)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_killed_process_leaves_no_zombie(tmp_path: Path) -> None:
    started = processes.start("killed", SLEEPER, tmp_path, {})
    wait_for_line(started.log)
    psutil.Process(started.pid).kill()
    for _ in range(200):
        if processes.read_record("killed", tmp_path) is None and not psutil.pid_exists(started.pid):
            return
        time.sleep(0.05)
    raise AssertionError("it is still there")


def test_a_reused_process_id_is_not_taken_for_ours(tmp_path: Path) -> None:
    other = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    try:
        record = {"name": "old", "pid": other.pid, "created": 1.0, "log": "x"}
        (tmp_path / "old.process.json").write_text(json.dumps(record))
        assert processes.read_record("old", tmp_path) is None
        assert not processes.stop("old", tmp_path, timeout_s=1)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x"}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.process.json").write_text(content)
    assert processes.read_record("x", tmp_path) is None


def test_what_cannot_be_executed_is_named(tmp_path: Path) -> None:
    with pytest.raises(processes.ProcessError, match="ghost"):
        processes.start("ghost", [str(tmp_path / "missing")], tmp_path, {})


def test_only_one_command_at_a_time(tmp_path: Path) -> None:
    with (
        processes.exclusive(tmp_path),
        pytest.raises(processes.ProcessError, match="another"),
        processes.exclusive(tmp_path),
    ):
        pass
    with processes.exclusive(tmp_path):
        pass
