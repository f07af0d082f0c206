"""The measured figures of the installed graphs as Markdown, for docs/export.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.attention_steps import ATTEND
from export.errors import InstallError
from export.profile import Profile
from export.reranker_steps import RERANK

__all__ = ["render"]


def render(profile: Profile, repository: Path) -> str:
    """Two tables, faithfulness and speed, and the machine they were measured on.

    Raises:
        InstallError: ``embedding.json`` or a manifest it names is not there.
    """
    try:
        content = json.loads((repository / "embedding.json").read_text(encoding="utf-8"))
        served = {name: content["models"][name] for name in profile.models}
        served |= {name: content[name] for name in (RERANK, ATTEND) if name in content}
        manifests = {
            name: json.loads(
                (repository / name / served[name]["version"] / "manifest.json").read_text("utf-8")
            )
            for name in served
        }
    except (OSError, ValueError, KeyError) as error:
        raise InstallError(f"nothing to report: {error}; run `make models`") from error
    lines = [
        "| graph | served | parity, max abs | cosine, mean / worst | NDCG@10 FP32 -> INT8 (loss) | inputs |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_faithful(name, manifest) for name, manifest in manifests.items()]
    lines += [
        "",
        "| graph | batch | FP32 ms | INT8 ms | speed-up | size FP32 -> INT8, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, manifest in manifests.items():
        sizes = f"{manifest['onnx']['bytes'] / 1e6:.1f} -> {manifest['int8']['bytes'] / 1e6:.1f}"
        for batch, timed in manifest["gate"]["speed"].items():
            lines.append(
                f"| {name} | {batch} | {timed['fp32_ms']:.1f} | {timed['int8_ms']:.1f} | "
                f"{timed['speed_up']:.2f} | {sizes} |"
            )
    gates = [manifest["gate"] for manifest in manifests.values()]
    cpu = gates[0]["machine"]
    loads = sorted(gate["machine"]["load"] for gate in gates)
    lines += [
        "",
        f"Machine: {cpu['cores']} cores of {cpu['cpu']} ({', '.join(cpu['flags'])}), {gates[0]['threads']} "
        f"thread(s) a session, ONNX Runtime {gates[0]['packages']['onnxruntime']}; load average while "
        f"measuring {loads[0]} to {loads[-1]}.",
    ]
    return "\n".join(lines)


def _faithful(name: str, manifest: Mapping[str, Any]) -> str:
    gate = manifest["gate"]
    cosines = "; ".join(f"{out} {row['mean']:.4f} / {row['worst']:.4f}" for out, row in gate["drift"].items())
    ndcg = gate["ndcg"]
    served = manifest["precision"]
    if served == "fp32":
        served += f" ({'; '.join(manifest['why'])})"
    return (
        f"| {name} | {served} | {max(manifest['parity']['max_abs'].values()):.1e} | {cosines} | "
        f"{ndcg['fp32']:.4f} -> {ndcg['int8']:.4f} ({ndcg['loss']:+.2%}) | {gate['inputs']} |"
    )
