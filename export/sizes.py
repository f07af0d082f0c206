"""What an export of big encoders came to, from its records: one table for docs/export.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.attention_steps import ATTEND
from export.errors import InstallError
from export.profile import Profile
from export.records import Record, read_record
from export.reranker_steps import RERANK
from export.settings import Settings

__all__ = ["render_sizes"]

_STEPS = ("load", "onnx", "parity", "int8", "gate")


def render_sizes(profile: Profile, settings: Settings) -> str:
    """A Markdown table of the graphs that went through all steps, and the machine.

    Raises:
        InstallError: none did.
    """
    rows, machines = [], []
    for model in (*profile.models, RERANK, ATTEND):
        found = {step: read_record(settings.work(profile.label) / model, step) for step in _STEPS}
        records = {step: record for step, record in found.items() if record is not None}
        if len(records) == len(_STEPS):
            rows.append(_row(profile, model, records))
            machines.append(records["gate"].figures)
    if not rows:
        raise InstallError(f"nothing of {profile.label} is exported yet: run `python -m export`")
    head = (
        "| graph | parameters, M | FP32 -> INT8, MB | parity, max abs | cosine, mean / worst "
        "| batch: FP32 / INT8 ms (ratio) | served | kept in FP32, and why | minutes |"
    )
    machine, packages = machines[0]["machine"], machines[0]["packages"]
    loads = sorted(each["machine"]["load"] for each in machines)
    return "\n".join(
        [
            head,
            "|---" * 9 + "|",
            *rows,
            "",
            f"Machine: {machine['cores']} cores of {machine['cpu']} ({', '.join(machine['flags'])}), "
            f"{machines[0]['threads']} thread(s) a session, ONNX Runtime {packages['onnxruntime']}; load "
            f"average while measuring {loads[0]} to {loads[-1]}.",
        ]
    )


def _row(profile: Profile, model: str, records: Mapping[str, Record]) -> str:
    figures: dict[str, Mapping[str, Any]] = {step: record.figures for step, record in records.items()}
    gate = figures["gate"]
    drift = "; ".join(f"{out} {row['mean']:.4f} / {row['worst']:.4f}" for out, row in gate["drift"].items())
    speed = "; ".join(
        f"{size}: {timed['fp32_ms']:.0f} / {timed['int8_ms']:.0f} ({timed['speed_up']:.2f})"
        for size, timed in gate["speed"].items()
    )
    served = gate["precision"] if gate["precision"] == "int8" else f"fp32 ({'; '.join(gate['reasons'])})"
    recipes = {RERANK: profile.rerank.kept, ATTEND: profile.attend.kept}
    cells = [
        model,
        f"{figures['load']['parameters'] / 1e6:.1f}",
        f"{figures['onnx']['bytes'] / 1e6:.0f} -> {figures['int8']['bytes'] / 1e6:.0f}",
        f"{max(figures['parity']['max_abs'].values()):.1e}",
        drift,
        speed,
        served,
        recipes[model] if model in recipes else profile.models[model].int8.kept,
        f"{sum(record.seconds for record in records.values()) / 60:.1f}",
    ]
    return f"| {' | '.join(cells)} |"
