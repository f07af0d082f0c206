"""The measured figures of the graphs for TensorRT as Markdown, for docs/export.md."""

from __future__ import annotations

from collections.abc import Mapping

from export.errors import InstallError
from export.profile import Profile
from export.records import Record, read_record
from export.settings import Settings

__all__ = ["render_graphs"]


def render_graphs(profile: Profile, settings: Settings) -> str:
    """A row for each graph that was made and measured, of the records of its steps.

    Raises:
        InstallError: none was.
    """
    lines = [
        "| graph | cosine with FP32, mean / worst | inputs | int8; pairs | FP32 -> graph, MB | to build "
        "| ModelOpt, minutes |",
        "|---" * 7 + "|",
    ]
    for name in profile.tensorrt:
        folder = settings.work(profile.label) / name
        records = {step: read_record(folder, step) for step in ("onnx", "qdq", "drift")}
        done = {step: record for step, record in records.items() if record is not None}
        if len(done) == len(records):
            lines.append(_row(name, done))
    if len(lines) == 2:
        raise InstallError(
            f"nothing to report of {profile.label}: run `python -m export qdq` and `python -m export drift`"
        )
    return "\n".join(lines)


def _row(name: str, done: Mapping[str, Record]) -> str:
    made, measured = done["qdq"].figures, done["drift"].figures
    cosines = "; ".join(
        f"{out} {row['mean']:.4f} / {row['worst']:.4f}" for out, row in measured["drift"].items()
    )
    kinds = ", ".join(f"{count} {kind}" for kind, count in made["quantized"].items())
    sizes = f"{done['onnx'].figures['bytes'] / 1e6:.1f} -> {made['bytes'] / 1e6:.1f}"
    return (
        f"| {name} | {cosines} | {measured['inputs']} | {kinds}; {made['pairs']} | {sizes} | "
        f"{measured['precision']} | {done['qdq'].seconds / 60:.1f} |"
    )
