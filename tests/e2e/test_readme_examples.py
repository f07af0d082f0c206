"""The README's examples as they stand, on the running system: only addresses and file names are put in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_system import System

from catalogue import read_manifest
from media import Limits, Modality, sniff

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
# A command ends where the next line is not indented further than the block.
SHELL = [
    re.sub(r"\\\n\s+", "", found)
    for found in re.findall(r"^    ((?:curl|sensorium search)(?:.*\\\n)*.*)$", README, flags=re.MULTILINE)
]


@pytest.fixture(scope="module")
def folder(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the files which the examples name."""
    place = tmp_path_factory.mktemp("readme")
    wanted = {Modality.IMAGE: "photo.jpg", Modality.AUDIO: "croak.ogg", Modality.VIDEO: "clip.mp4"}
    for item in read_manifest(system.catalogue):
        for path in item.paths():
            data = path.read_bytes()
            name = wanted.pop(sniff(data, Limits()).modality, None)
            if name is not None:
                (place / name).write_bytes(data)
    assert not wanted, f"the generated catalogue lacks {list(wanted)}"
    return place


def placed(example: str, system: System) -> str:
    example = example.replace("127.0.0.1:8081", system.grpc_target)
    example = example.replace("http://127.0.0.1:8080", system.rest_url)
    return example.replace("127.0.0.1:8001", system.stack.settings.triton.url)


def run(command: list[str], system: System, folder: Path) -> str:
    environ = {**system.stack.environ, "PYTHONPATH": str(ROOT)}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_has_what_is_tested_here() -> None:
    assert len(PYTHON) == 2
    assert [line.split()[0] for line in SHELL] == ["sensorium"] * 3 + ["curl"] * 2


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(system: System, folder: Path, number: int) -> None:
    assert run([sys.executable, "-c", placed(PYTHON[number], system)], system, folder).strip()


@pytest.mark.parametrize("number", range(len(SHELL)))
def test_shell(system: System, folder: Path, number: int) -> None:
    if SHELL[number].startswith("curl") and shutil.which("curl") is None:
        pytest.skip("curl is not here; install it with: apt-get install curl")
    output = run(["bash", "-c", placed(SHELL[number], system)], system, folder)
    if SHELL[number].startswith("curl"):
        assert json.loads(output)["hits"]
    else:
        assert "score" in output
