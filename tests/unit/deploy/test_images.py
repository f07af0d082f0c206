"""The Dockerfiles: what they copy exists and is not ignored; what runs is not root, and labelled."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = ("deploy/Dockerfile", "deploy/triton/Dockerfile")
OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")}


def copied(text: str) -> set[str]:
    """Sources of every COPY from the context."""
    found: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        words = [word for word in line.split() if not word.startswith("--")]
        found |= set(words[:-1])
    return found


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_is_there_and_not_ignored(name: str) -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in copied((ROOT / name).read_text()):
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in kept), f"{source} is ignored"


@pytest.mark.parametrize("name", FILES)
def test_nothing_runs_as_root_and_all_is_labelled(name: str) -> None:
    text = (ROOT / name).read_text()
    stages = [stage for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:] if "ENTRYPOINT" in stage]
    assert stages
    for stage in stages:
        users = re.findall(r"^USER (\d+):(\d+)$", stage, re.MULTILINE)
        assert users
        assert all(int(part) >= 1000 for user in users for part in user)
        assert "org.opencontainers.image.title" in stage
    for label in ("version", "licenses", "base.name"):
        assert f"org.opencontainers.image.{label}" in text
    assert "HEALTHCHECK" in text
    assert ":latest" not in text


def test_the_orchestrators_image_holds_every_room_that_its_processes_import() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text()
    stage = text[: text.index("AS build-tools")]
    rooms = {source for source in copied(stage) if source in OURS}
    assert {"orchestrator", "indexing", "media", "cli", "sensorium"} <= rooms
    # What `cli.server` and `cli.main` reach through imports at module level.
    seen: set[Path] = set()
    queue = [ROOT / "cli/server.py", ROOT / "cli/main.py"]
    while queue:
        path = queue.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.parse(path.read_text()).body:
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for dotted in names:
                base = ROOT / Path(*dotted.split("."))
                for candidate in (base.with_suffix(".py"), base / "__init__.py"):
                    if candidate.is_file() and dotted.split(".")[0] in OURS:
                        queue.append(candidate)
    reached = {path.relative_to(ROOT).parts[0] for path in seen}
    assert reached <= rooms
    assert "training" not in rooms


def test_the_healthcheck_asks_a_path_that_rest_has() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text()
    (path,) = re.findall(r"127\.0\.0\.1:8080(/\w+)'", text)
    assert f'@app.get("{path}")' in (ROOT / "orchestrator/rest/app.py").read_text()
