"""What the gate decides on: cosine drift, retrieval and speed, measured on real inputs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.samples import Feed

__all__ = ["cosines", "drift", "machine", "ndcg_asked", "ndcg_at_10", "ndcg_lost", "speed_up"]

_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each row of ``a`` [n, d] with the same row of ``b`` [n, d] -> [n]."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: NDArray[np.float32] = (a * b).sum(axis=1) / np.maximum(norms, 1e-12)
    return result


def drift(a: Mapping[str, NDArray[np.float32]], b: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Mean and worst cosine per output."""
    figures = {}
    for name in a:
        row = cosines(a[name], b[name])
        figures[name] = {"mean": round(float(row.mean()), 5), "worst": round(float(row.min()), 5)}
    return figures


def ndcg_at_10(
    queries: NDArray[np.float32], wanted: Sequence[str], gallery: NDArray[np.float32], shown: Sequence[str]
) -> float:
    """Mean NDCG@10 (Jarvelin & Kekalainen 2002) of ranking the gallery by cosine, relevance 0 or 1.

    Args:
        queries: [q, d], unit norm.
        wanted: what each query means; queries of which the gallery shows nothing are left out.
        gallery: [g, d], unit norm.
        shown: what each gallery row means.
    """
    discounts = 1.0 / np.log2(np.arange(2, 12))
    relevant = np.array([[word == other for other in shown] for word in wanted])
    scores = []
    for row, truth in zip(queries @ gallery.T, relevant, strict=True):
        if truth.any():
            hits = truth[np.argsort(-row, kind="stable")[:10]]
            scores.append((hits * discounts[: hits.size]).sum() / discounts[: min(10, truth.sum())].sum())
    return float(np.mean(scores)) if scores else 0.0


def ndcg_asked(
    queries: tuple[NDArray[np.float32], Sequence[str]], gallery: tuple[NDArray[np.float32], Sequence[str]]
) -> float:
    """``ndcg_at_10`` of vectors [n, d] and what they mean, where each meaning is asked for once."""
    vectors, meanings = queries
    first = [i for i, meaning in enumerate(meanings) if meaning not in meanings[:i]]
    return ndcg_at_10(vectors[first], [meanings[i] for i in first], *gallery)


def ndcg_lost(full: float, small: float) -> dict[str, float]:
    """NDCG of FP32 and of INT8, and the share lost: NaN, which fails the gate, where FP32 finds nothing."""
    return {"fp32": full, "int8": small, "loss": (full - small) / full if full else float("nan")}


def speed_up(
    before: onnxruntime.InferenceSession,
    after: onnxruntime.InferenceSession,
    feed: Feed,
    seconds: float,
    enough: float,
) -> dict[str, float]:
    """Ratio of the medians of both sessions' times, called in turn so that other load meets both alike.

    Runs two rounds unmeasured, then at least five, then more until ``seconds`` have passed or there are 50.
    On a busy machine load may still meet one side only, so a ratio below ``enough`` is measured again, at
    most twice; the figures are those of the last measurement, ``measurements`` says how many there were.
    """
    fp32, int8, rounds = _medians_ms(before, after, feed, seconds)
    measurements = 1
    while measurements < 3 and fp32 / int8 < enough:
        fp32, int8, rounds = _medians_ms(before, after, feed, seconds)
        measurements += 1
    return {
        "fp32_ms": round(fp32, 3),
        "int8_ms": round(int8, 3),
        "speed_up": round(fp32 / int8, 3),
        "rounds": rounds,
        "measurements": measurements,
    }


def _medians_ms(
    before: onnxruntime.InferenceSession, after: onnxruntime.InferenceSession, feed: Feed, seconds: float
) -> tuple[float, float, int]:
    times: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + seconds
    for turn in range(52):
        if turn >= 7 and time.perf_counter() > until:
            break
        for session, spent in zip((before, after), times, strict=True):
            started = time.perf_counter()
            session.run(None, feed)
            if turn >= 2:
                spent.append(time.perf_counter() - started)
    fp32, int8 = (median(spent) * 1e3 for spent in times)
    return fp32, int8, len(times[0])


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    facts: dict[str, Any] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": [],
    }
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                facts["cpu"] = value.strip()
            elif key.strip() == "flags":
                facts["flags"] = [flag for flag in _CPU_FLAGS if flag in value.split()]
    return {**facts, "load": round(os.getloadavg()[0], 1)}
