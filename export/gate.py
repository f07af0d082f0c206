"""The gate: INT8 is served only if it is faithful, ranks as well and is worth it; otherwise FP32 is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnxruntime

from export.measure import machine, speed_up
from export.profile import Gate
from export.samples import Feed

__all__ = ["Verdict", "decide", "judge"]


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


def decide(
    figures: Mapping[str, Any],
    before: onnxruntime.InferenceSession,
    after: onnxruntime.InferenceSession,
    feeds: Mapping[int, Feed],
    gate: Gate,
) -> dict[str, Any]:
    """``figures`` of drift and retrieval with those of speed, and what to serve.

    Args:
        figures: ``drift`` and ``ndcg`` as `judge` reads them, and whatever else is to be kept.
        before, after: FP32 and INT8.
        feeds: an input of each batch size.
        gate: the thresholds.

    Returns:
        All that, and ``speed``, ``machine``, ``threads``, ``precision`` and ``reasons``. A slow figure is
        measured again only while INT8 may still be served: what fails already cannot be helped by it.
    """
    speed: dict[str, Any] = {}
    for size, feed in feeds.items():
        hangs_on_it = judge({**figures, "speed": speed}, gate).precision == "int8"
        enough = gate.speed_up_min if hangs_on_it else 0.0
        speed[str(size)] = speed_up(before, after, feed, gate.seconds, enough)
    verdict = judge({**figures, "speed": speed}, gate)
    return {
        **figures,
        "speed": speed,
        "machine": machine(),
        "threads": gate.threads,
        "precision": verdict.precision,
        "reasons": list(verdict.reasons),
    }
