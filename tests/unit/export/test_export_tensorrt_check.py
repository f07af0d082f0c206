"""The comparison of `make gpu-check`, with ONNX Runtime in the place of the GPU.

What computes the same passes, what does not fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorrt_graphs import small_feeds, write_small

from export.errors import ExportError, PlanError
from export.profile import TensorRT
from export.samples import Feed, Sample
from export.sessions import open_session, run_all
from export.settings import ROOT
from export.tensorrt_check import BEGIN, END, Outputs, check_plan, render, unfaithful, with_table
from export.tensorrt_shapes import covers, profiles

AXES: dict[str, tuple[str | int, ...]] = {"pixels": ("batch", 2, 16, 16, 3)}
PROFILES = profiles(AXES, TensorRT(int8="^/", calibration=8, max_batch=8))
SAMPLES = [Sample("", "", feed) for feed in small_feeds(10)]


class OnProcessor:
    """The graph by ONNX Runtime, its output turned by `blend` towards noise."""

    def __init__(self, path: Path, blend: float = 0) -> None:
        self._session, self._blend = open_session(path, 1), blend
        self._random = np.random.default_rng(0)

    def infer(self, feed: Feed, profile: int) -> Outputs:
        assert covers(PROFILES[profile], {name: array.shape for name, array in feed.items()})
        (output,) = self._session.run(None, feed)
        noise = self._random.normal(0, float(output.std()), output.shape)
        return {"embedding": ((1 - self._blend) * output + self._blend * noise).astype(np.float32)}


def figures(folder: Path, blend: float) -> dict[str, Any]:
    write_small(folder / "fp32.onnx")
    full = run_all(open_session(folder / "fp32.onnx", 1), SAMPLES, 4)
    plan = OnProcessor(folder / "fp32.onnx", blend)
    row = check_plan(plan, PROFILES, SAMPLES, full, full, lambda outputs: outputs, 8)
    device = {"name": "no GPU", "capability": "0.0", "driver": "-", "tensorrt": "-"}
    return {"date": "2026-11-30", "device": device, "models": {"small": {"precision": "fp32", **row}}}


def test_what_computes_the_same_is_faithful(tmp_path: Path) -> None:
    found = figures(tmp_path, 0)
    row = found["models"]["small"]
    assert row["same"]["embedding"]["worst"] > 0.9999
    assert row["profiles"] == [0]
    assert set(row["ms"]) == {"1", "8"}
    assert all(ms > 0 for ms in row["ms"].values())
    assert unfaithful(found, 0.99) == []


def test_what_computes_something_else_is_not(tmp_path: Path) -> None:
    wrong = unfaithful(figures(tmp_path, 0.5), 0.99)
    assert len(wrong) == 2
    assert all(each.startswith("small: mean cosine of embedding") for each in wrong)


def test_an_input_that_no_profile_takes_is_an_error(tmp_path: Path) -> None:
    write_small(tmp_path / "fp32.onnx")
    full = run_all(open_session(tmp_path / "fp32.onnx", 1), SAMPLES, 4)
    with pytest.raises(PlanError, match="no optimisation profile"):
        check_plan(OnProcessor(tmp_path / "fp32.onnx"), PROFILES, SAMPLES, full, full, lambda each: each, 9)


def test_the_table_takes_its_place_in_the_document(tmp_path: Path) -> None:
    table = render(figures(tmp_path, 0))
    assert "| small | fp32 | embedding 1.0000 | embedding 1.0000 / 1.0000 | 1: " in table
    text = f"before\n{BEGIN}\nnot yet run\n{END}\nafter\n"
    assert with_table(text, "| a |") == f"before\n{BEGIN}\n| a |\n{END}\nafter\n"
    with pytest.raises(ExportError, match="gpu-check"):
        with_table("before", table)


def test_the_document_has_the_place_and_says_that_nothing_ran() -> None:
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    place = text.partition(BEGIN)[2].partition(END)[0]
    assert "Not yet run" in place or "`make gpu-check` on " in place
