"""A step is done once for the same inputs, again when they or its files change, and never half."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from export import quantize
from export.records import fingerprint, read_record, run_step


class Work:
    """Writes one file and counts how often it was asked to."""

    def __init__(self, text: str = "weights") -> None:
        self.text = text
        self.calls = 0

    def __call__(self, files: Mapping[str, Path]) -> Any:
        self.calls += 1
        files["model.onnx"].write_text(self.text)
        return {"calls": self.calls}


def test_same_inputs_are_skipped(tmp_path: Path) -> None:
    work = Work()
    first = run_step(tmp_path, "onnx", "a", ("model.onnx",), work)
    second = run_step(tmp_path, "onnx", "a", ("model.onnx",), work)
    assert work.calls == 1
    assert not first.skipped
    assert second.skipped
    assert (second.figures, second.files, second.seconds) == (first.figures, first.files, first.seconds)


def test_changed_inputs_are_done_again(tmp_path: Path) -> None:
    work = Work()
    run_step(tmp_path, "onnx", "a", ("model.onnx",), work)
    assert not run_step(tmp_path, "onnx", "b", ("model.onnx",), work).skipped
    assert work.calls == 2


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    work = Work()
    run_step(tmp_path, "onnx", "a", ("model.onnx",), work)
    if damage == "removed":
        (tmp_path / "model.onnx").unlink()
    else:
        (tmp_path / "model.onnx").write_text("something else")
    assert not run_step(tmp_path, "onnx", "a", ("model.onnx",), work).skipped
    assert (tmp_path / "model.onnx").read_text() == "weights"


def test_an_interruption_leaves_nothing_that_counts(tmp_path: Path) -> None:
    run_step(tmp_path, "onnx", "a", ("model.onnx",), Work("old"))

    def interrupted(files: Mapping[str, Path]) -> Any:
        files["model.onnx"].write_text("half of the new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_step(tmp_path, "onnx", "b", ("model.onnx",), interrupted)
    assert read_record(tmp_path, "onnx") is None
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "old"
    assert not run_step(tmp_path, "onnx", "b", ("model.onnx",), Work("new")).skipped
    assert (tmp_path / "model.onnx").read_text() == "new"


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    run_step(tmp_path, "onnx", "a", ("model.onnx",), Work())
    (tmp_path / "onnx.json").write_text('{"inputs": "a"')
    assert read_record(tmp_path, "onnx") is None


def test_fingerprint_follows_code_and_values() -> None:
    assert fingerprint(["gate"], limit=1) == fingerprint(["gate"], limit=1)
    assert fingerprint(["gate"], limit=1) != fingerprint(["gate"], limit=2)
    assert fingerprint(["gate"], limit=1) != fingerprint(["gate", "measure"], limit=1)


def test_an_int8_graph_is_made_again_when_what_makes_it_changes() -> None:
    """Every module that ``quantize`` uses is in its fingerprint, but for errors, and what is passed in."""
    tree = ast.parse(Path(quantize.__file__).read_text("utf-8"))
    used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    ours = {name.removeprefix("export.") for name in used if name.startswith("export.")}
    assert ours - {"errors", "profile", "samples"} == set(quantize.MODULES) - {"quantize"}
