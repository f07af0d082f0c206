"""The gate: INT8 is served only if it is faithful, ranks as well and is worth it; otherwise FP32 is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export.profile import Gate

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True)
class Verdict:
    """The precision to serve and why."""

    precision: str
    reasons: tuple[str, ...]


def judge(figures: Mapping[str, Any], gate: Gate) -> Verdict:
    """Hold the measured figures against the profile's thresholds.

    Args:
        figures: ``drift`` (output -> mean, worst), ``ndcg`` (fp32, int8, loss; None for random weights) and
            ``speed`` (batch -> speed_up).
        gate: the thresholds.

    Returns:
        ``int8`` if every threshold holds, else ``fp32`` with each one that does not.
    """
    failed = []
    for name, cosine in figures["drift"].items():
        # `not >=` rather than `<`, so that NaN fails
        if not cosine["mean"] >= gate.drift_mean_min:
            failed.append(f"mean cosine of {name} {cosine['mean']:.4f} is below {gate.drift_mean_min}")
    if figures["ndcg"] is not None and not figures["ndcg"]["loss"] <= gate.ndcg_loss_max:
        failed.append(f"NDCG@10 loss {figures['ndcg']['loss']:.2%} is above {gate.ndcg_loss_max:.2%}")
    for batch, timed in figures["speed"].items():
        if not timed["speed_up"] >= gate.speed_up_min:
            failed.append(f"speed-up {timed['speed_up']:.2f} at batch {batch} is below {gate.speed_up_min}")
    if failed:
        return Verdict("fp32", tuple(failed))
    if figures["ndcg"] is None:
        return Verdict("int8", ("drift and speed-up are within the gate; random weights retrieve nothing",))
    return Verdict("int8", ("drift, retrieval and speed-up are within the gate",))
