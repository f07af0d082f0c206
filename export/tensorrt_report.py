"""The measured figures of the graphs for TensorRT as Markdown, for docs/export.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.errors import InstallError
from export.profile import Profile
from export.records import read_record
from export.settings import Settings

__all__ = ["render_graphs"]


def render_graphs(profile: Profile, settings: Settings) -> str:
    """A row for each graph that was made and measured, of the records of its steps.

    Raises:
        InstallError: none was.
    """
    lines = [
        "| graph | cosine with FP32, mean / worst | inputs | int8; pairs | FP32 -> graph, MB | to build |",
        "|---|---|---|---|---|---|",
    ]
    for name in profile.tensorrt:
        folder = settings.work(profile.label) / name
        records = {step: read_record(folder, step) for step in ("onnx", "qdq", "drift")}
        figures = {step: record.figures for step, record in records.items() if record is not None}
        if len(figures) == len(records):
            lines.append(_row(name, figures))
    if len(lines) == 2:
        raise InstallError(
            f"nothing to report of {profile.label}: run `python -m export qdq` and `python -m export drift`"
        )
    return "\n".join(lines)


def _row(name: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    made, measured = figures["qdq"], figures["drift"]
    cosines = "; ".join(
        f"{out} {row['mean']:.4f} / {row['worst']:.4f}" for out, row in measured["drift"].items()
    )
    kinds = ", ".join(f"{count} {kind}" for kind, count in made["quantized"].items())
    sizes = f"{figures['onnx']['bytes'] / 1e6:.1f} -> {made['bytes'] / 1e6:.1f}"
    return (
        f"| {name} | {cosines} | {measured['inputs']} | {kinds}; {made['pairs']} | {sizes} | "
        f"{measured['precision']} |"
    )
