"""The whole system on free ports with a small generated catalogue, once per session."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from catalogue import read_manifest
from cli.client import Client
from cli.indexing import index_items
from cli.scratch import scratch_stack
from cli.stack import Stack
from orchestrator.settings import load_settings

ITEMS = 40
SELDOM = {"SENSORIUM_SERVING_CANARY_PERIOD_S": "30"}
"""Nothing is done to this Triton, so that its canaries, clips among them, need not fly beside every test."""


@dataclass(frozen=True)
class System:
    """Where the running system is, the manifest of what is indexed in it, and how many rows that made."""

    stack: Stack
    rest_url: str
    grpc_target: str
    catalogue: Path
    rows: Mapping[str, int]


@pytest.fixture(scope="session")
def generated_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a generated catalogue of ITEMS items."""
    folder = tmp_path_factory.mktemp("generated")
    arguments = ["--items", str(ITEMS), "--seed", "1", "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "catalogue", "generate", *arguments], check=True, timeout=120)
    return folder / "manifest.jsonl"


@pytest.fixture(scope="session")
def built_home() -> Path:
    """The home that holds the Triton server; the models stand in model_repository/."""
    home = load_settings().home.absolute()
    if not (home / "triton").is_dir() or not Path("model_repository/embedding.json").is_file():
        pytest.fail("needs the server and the models: run `make triton models`")
    return home


@pytest.fixture(scope="session")
def system(
    built_home: Path, generated_catalogue: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Triton, Milvus Lite and the orchestrator, with the generated catalogue indexed."""
    with scratch_stack(tmp_path_factory.mktemp("home"), built_home, SELDOM) as stack:
        stack.up()
        with Client(stack.target) as client:
            summary = index_items(client, list(read_manifest(generated_catalogue)), Console(stderr=True))
        assert not summary.refused, summary.refused
        rows = dict(stack.status().rows)
        yield System(stack, stack.page, stack.target, generated_catalogue, rows)
