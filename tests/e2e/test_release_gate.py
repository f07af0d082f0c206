"""The gate of relevance, by the public API on a system of its own: as good is staged, worse is not.

The gallery is a third of the validation split of the stamps, so that it is indexed and asked in seconds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures_triton import PUBLIC, ROOT, installed_tree, need_models
from rich.console import Console

from catalogue import ManifestItem, read_manifest
from cli.client import Client
from cli.indexing import index_items
from cli.release_models import models_dir
from cli.releasing import GateError, Releasing
from cli.scratch import scratch_stack
from cli.stack import Stack
from orchestrator.settings import load_settings
from releases.manifest import EMBEDDING, create
from releases.state import read_state

MILVUS = ROOT / "milvus"
STAMPS = load_settings().home / "catalogues" / "stamps" / "manifest.jsonl"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not STAMPS.is_file():
        pytest.skip("no stamps: run `make catalogue`")
    folder = tmp_path_factory.mktemp("validation")
    everything = [json.loads(line) for line in STAMPS.read_text("utf-8").splitlines()]
    items = [item for item in everything if item["split"] == "validation"][::3]
    for item in items:
        for entry in item["media"] + item.get("queries", []):
            target = folder / entry["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(STAMPS.parent / entry["path"], target)
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return manifest


@pytest.fixture(scope="module")
def stack(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    installed_tree()
    need_models(ROOT / "model_repository", PUBLIC)
    items: list[ManifestItem] = list(read_manifest(catalogue))
    with scratch_stack(tmp_path_factory.mktemp("gate"), load_settings().home) as found:
        found.up()
        with Client(found.target) as client:
            done = index_items(client, items, Console(stderr=True))
        assert not done.refused, done.line()
        yield found


def variant(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The model repository with another embedding set."""
    folder.mkdir()
    for source in (ROOT / "model_repository").iterdir():
        if source.is_dir():
            (folder / source.name).symlink_to(source)
    embedding = json.loads((ROOT / "model_repository" / EMBEDDING).read_bytes())
    change(embedding)
    (folder / EMBEDDING).write_text(json.dumps(embedding), encoding="utf-8")
    return folder


def nothing_counts(embedding: dict[str, Any]) -> None:
    """Every item scores the same."""
    for name in ("rerank", "attend"):
        embedding.pop(name, None)
    for fusion in embedding["fusion"].values():
        for pair in fusion["pairs"].values():
            pair["weight"] = 0.0


def test_the_gate_of_relevance(stack: Stack, catalogue: Path, tmp_path: Path) -> None:
    told: list[str] = []
    releasing = Releasing(stack.settings, MILVUS, stack.target, told.append)
    own = ROOT / "model_repository"
    create(releasing.home, "good", own, MILVUS, tmp_path / "none")
    create(releasing.home, "bad", variant(tmp_path / "bad", nothing_counts), MILVUS, tmp_path / "none")
    figures = releasing.stage("good", catalogue)
    relevance = [figure for figure in figures if figure.what.startswith("NDCG")]
    assert len(relevance) > 3
    assert all(figure.value == pytest.approx(0.0, abs=0.005) for figure in relevance), "the same answers"
    with pytest.raises(GateError) as refused:
        releasing.stage("bad", catalogue)
    failed = {figure.what for figure in refused.value.figures if not figure.passed}
    assert "NDCG@10 against the current release, mean of all sets" in failed
    assert read_state(releasing.home).staged == ("good",)
    assert not list(models_dir(releasing.home).glob("*__bad")), "it is unloaded"
    with Client(stack.target) as client:
        assert set(client.status().releases) == {releasing.own, "good"}
