"""The kernel bench on small sizes: its ways agree, one that does not stops it, both reports are written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kernels as bench
from kernels import VectorSets


def test_all_ways_find_the_same_in_padded_and_in_full_sets() -> None:
    for full in (False, True):
        inputs = bench.make(3, 40, full)
        assert full == bool((inputs.queries.counts == bench.MAX_TOKENS).all())
        first, *others = (call() for call in bench.ways(inputs, "cpu", threads=1).values())
        assert len(others) == 2
        for other in others:
            np.testing.assert_allclose(first, other, rtol=0, atol=1e-6)


def test_a_way_that_finds_something_else_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "retrieve", lambda queries, *_: _Zero(queries))
    with pytest.raises(ValueError, match="same"):
        bench.measure("cpu", 2, 20, False, rounds=1, threads=1)


class _Zero:
    def __init__(self, queries: VectorSets) -> None:
        self.scores = np.zeros((len(queries), bench.K), np.float32)


def test_the_command_writes_both_reports_and_an_empty_table_for_the_gpu_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "QUERIES", (1, 2))
    monkeypatch.setattr(bench, "CANDIDATES", (10, 30))
    monkeypatch.setattr(bench, "MEDIAN", (2, 30))
    monkeypatch.setattr(bench, "BURST_S", 0.001)
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bench.torch, "set_num_threads", lambda _: None)  # of the tests' own process
    assert bench.main(["--rounds", "2", "--threads", "1", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "kernels.json").read_text())
    assert [(row["queries"], row["candidates"], row["full"]) for row in result["rows"]] == [
        (1, 10, False),
        (1, 30, False),
        (2, 10, False),
        (2, 30, False),
        (2, 30, True),
    ]
    for row in result["rows"]:
        assert set(row["ms"]) == {"eager, padded", "eager, packed", "kernels"}
        assert 0 < row["ratio"] <= row["padded_ratio"]
    text = (tmp_path / "kernels.md").read_text()
    cpu, gpu = text.split("### GPU")
    assert cpu.count("\n| ") == 1 + len(result["rows"])
    assert gpu.count("\n| ") == 1
    assert "no GPU" in cpu
