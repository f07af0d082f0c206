"""Samples -> counts and percentiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from loadtests.arrivals import PROTOCOLS
from loadtests.samples import Outcome, Sample

__all__ = ["PERCENTILES", "good", "percentiles", "summarise", "timeline"]

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
ADMITTED = (Outcome.ANSWERED, Outcome.FAILED)

Figures = dict[str, Any]


def percentiles(values: Iterable[float]) -> Figures:
    """`n`, p50, p95, p99, p99.9 and the largest. Each is a value that occurred, none is made up
    between two. Of fewer than 1,000 values p99.9 is the largest. Without values there is only `n`."""
    found = np.fromiter(values, dtype=np.float64)
    if not len(found):
        return {"n": 0}
    at = np.percentile(found, list(PERCENTILES.values()), method="inverted_cdf")
    named = dict(zip(PERCENTILES, at, strict=True))
    return {"n": len(found), **{name: round(float(each), 3) for name, each in named.items()}} | {
        "max": round(float(found.max()), 3)
    }


def good(sample: Sample, bound_ms: float) -> bool:
    """Answered within the bound, from when it was due. A degraded answer is one, and is counted beside."""
    return sample.answer.outcome is Outcome.ANSWERED and sample.latency_ms <= bound_ms


def summarise(samples: Sequence[Sample], duration_s: float, bound_ms: float) -> Figures:
    """Everything about the arrivals of `duration_s` seconds.

    `latency_ms` is of what was admitted, from when it was due: answers, and failures at the time that they
    failed, or a server that lets requests time out would look fast. `service_ms` is the same from when it was
    sent, and `lag_ms` what lies between: how late the client was. Stage times are the server's, of answers.
    """
    outcomes = Counter(sample.answer.outcome for sample in samples)
    admitted = [sample for sample in samples if sample.answer.outcome in ADMITTED]
    answered = [sample for sample in samples if sample.answer.outcome is Outcome.ANSWERED]
    sent = [sample for sample in samples if sample.answer.outcome is not Outcome.UNSENT]
    within = sum(good(sample, bound_ms) for sample in samples)
    return {
        "duration_s": duration_s,
        "offered": len(samples),
        "offered_per_s": round(len(samples) / duration_s, 3),
        "sent": len(sent),
        "unsent": outcomes[Outcome.UNSENT],
        "admitted": len(admitted),
        "rejected": outcomes[Outcome.REJECTED],
        "failed": outcomes[Outcome.FAILED],
        "answered": len(answered),
        "good": within,
        "goodput_per_s": round(within / duration_s, 3),
        "good_share": round(within / len(samples), 4) if samples else 1.0,
        "degraded": sum(bool(sample.answer.degraded) for sample in answered),
        "degraded_stages": dict(Counter(_stages(answered))),
        "cached_embeddings": sum(sample.answer.cached_embeddings for sample in answered),
        "cached_answers": sum(sample.answer.cached for sample in answered),
        "codes": {
            protocol: dict(Counter(each.answer.code for each in sent if each.arrival.protocol == protocol))
            for protocol in PROTOCOLS
        },
        "retry_after_s": percentiles(
            sample.answer.retry_after_s for sample in samples if sample.answer.retry_after_s is not None
        ),
        "latency_ms": _by_modality(admitted, lambda sample: sample.latency_ms),
        "service_ms": _by_modality(admitted, lambda sample: sample.service_ms),
        "protocol_ms": {
            protocol: percentiles(each.latency_ms for each in admitted if each.arrival.protocol == protocol)
            for protocol in PROTOCOLS
        },
        "lag_ms": percentiles((each.sent_s - each.arrival.due_s) * 1000 for each in sent),
        "stages_ms": {
            name: _by_stage([each for each in answered if name in ("all", each.arrival.modality)])
            for name in ("all", *_modalities(answered))
        },
    }


def timeline(
    samples: Sequence[Sample], duration_s: float, bound_ms: float, bin_s: float = 1.0
) -> list[Figures]:
    """A row for each `bin_s` seconds, by when requests were due."""
    bins: list[list[Sample]] = [[] for _ in range(max(int(np.ceil(duration_s / bin_s)), 1))]
    for sample in samples:
        bins[min(int(sample.arrival.due_s / bin_s), len(bins) - 1)].append(sample)
    return [
        {
            "at_s": round(place * bin_s, 3),
            "offered": len(own),
            "good": sum(good(sample, bound_ms) for sample in own),
            "rejected": sum(sample.answer.outcome is Outcome.REJECTED for sample in own),
            "failed": sum(sample.answer.outcome is Outcome.FAILED for sample in own),
            "unsent": sum(sample.answer.outcome is Outcome.UNSENT for sample in own),
            "latency_ms": percentiles(
                sample.latency_ms for sample in own if sample.answer.outcome in ADMITTED
            ),
        }
        for place, own in enumerate(bins)
    ]


def _modalities(samples: Sequence[Sample]) -> list[str]:
    return sorted({sample.arrival.modality for sample in samples})


def _by_modality(samples: Sequence[Sample], value: Callable[[Sample], float]) -> Figures:
    return {
        name: percentiles(value(each) for each in samples if name in ("all", each.arrival.modality))
        for name in ("all", *_modalities(samples))
    }


def _by_stage(samples: Sequence[Sample]) -> Figures:
    names = dict.fromkeys(stage for sample in samples for stage in sample.answer.stages_ms)
    return {
        name: percentiles(each.answer.stages_ms[name] for each in samples if name in each.answer.stages_ms)
        for name in names
    }


def _stages(samples: Sequence[Sample]) -> list[str]:
    """Which stage each degradation names; the reason behind it may be long."""
    return [reason.partition(":")[0] for sample in samples for reason in sample.answer.degraded]
