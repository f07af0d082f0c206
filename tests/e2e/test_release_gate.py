"""The gate of relevance, by the public API on a system of its own: as good is staged, worse is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures_triton import ROOT

from cli.client import Client
from cli.release_models import models_dir
from cli.releasing import GateError, Releasing
from cli.stack import Stack
from releases.manifest import EMBEDDING, create
from releases.state import read_state

MILVUS = ROOT / "milvus"


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


@pytest.mark.timeout(600)  # four minutes where the processor has no instructions for INT8
def test_the_gate_of_relevance(release_stack: Stack, validation_third: Path | None, tmp_path: Path) -> None:
    if validation_third is None:
        pytest.skip("no stamps: run `make catalogue`")
    stack, catalogue = release_stack, validation_third
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
    state = read_state(releasing.home)
    assert "good" in state.gated
    assert "bad" not in state.staged
    assert not list(models_dir(releasing.home).glob("*__bad")), "it is unloaded"
    with Client(stack.target) as client:
        assert "good" in client.status().releases
        assert "bad" not in client.status().releases
    state = releasing.unstage("good")
    assert "good" not in (*state.staged, *state.gated)
    assert not list(models_dir(releasing.home).glob("*__good"))
    with Client(stack.target) as client:
        assert "good" not in client.status().releases
