"""A system of its own for what `sensorium release` does to it, once per session.

A third of the validation split of the stamps is indexed in it, so that the gate of relevance asks it in
seconds; nothing where the stamps are not here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_triton import PUBLIC, ROOT, installed_tree, need_models
from rich.console import Console

from catalogue import read_manifest
from cli.client import Client
from cli.indexing import index_items
from cli.scratch import scratch_stack
from cli.stack import Stack
from orchestrator.settings import load_settings


@pytest.fixture(scope="session")
def validation_third(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Its manifest; None without stamps."""
    stamps = load_settings().home / "catalogues" / "stamps" / "manifest.jsonl"
    if not stamps.is_file():
        return None
    folder = tmp_path_factory.mktemp("validation")
    everything = [json.loads(line) for line in stamps.read_text("utf-8").splitlines()]
    items = [item for item in everything if item["split"] == "validation"][::3]
    for item in items:
        for entry in item["media"] + item.get("queries", []):
            target = folder / entry["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stamps.parent / entry["path"], target)
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return manifest


@pytest.fixture(scope="session")
def release_stack(validation_third: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Whoever stages a release in it takes it out again."""
    installed_tree()
    need_models(ROOT / "model_repository", PUBLIC)
    with scratch_stack(tmp_path_factory.mktemp("releases"), load_settings().home) as found:
        found.up()
        if validation_third is not None:
            with Client(found.target) as client:
                done = index_items(client, list(read_manifest(validation_third)), Console(stderr=True))
            assert not done.refused, done.line()
        yield found


def release(stack: Stack, *arguments: str, code: int = 0) -> str:
    """What `sensorium release` says; it must end with `code`."""
    environ = {**stack.environ, "SENSORIUM_HOME": str(stack.settings.home), "COLUMNS": "200"}
    command = [sys.executable, "-c", "from cli.main import app; app()", "release", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr
