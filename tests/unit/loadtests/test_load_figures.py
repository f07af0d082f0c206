"""Percentiles, counts, recovery and the report, from samples that are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.arrivals import Arrival
from loadtests.figures import percentiles, summarise, timeline
from loadtests.report import findings, write_report
from loadtests.samples import Answer, Outcome, Sample
from loadtests.scenarios import recovery_s

OK = Answer(Outcome.ANSWERED, "OK", {"embed": 5.0, "total": 9.0})
KEPT = Answer(Outcome.ANSWERED, "OK", {"embed": 5.0, "total": 9.0}, cached=True, cached_embeddings=True)
FULL = Answer(Outcome.REJECTED, "RESOURCE_EXHAUSTED", retry_after_s=0.5)
LATE = Answer(Outcome.FAILED, "DEADLINE_EXCEEDED")
UNSENT = Answer(Outcome.UNSENT, "unsent")


def sample(
    answer: Answer,
    due_s: float,
    took_s: float,
    modality: str = "text",
    protocol: str = "grpc",
    late_s: float = 0,
) -> Sample:
    arrival = Arrival(due_s, "only", modality, 0, protocol)
    return Sample(arrival, answer, due_s + late_s, due_s + late_s + took_s)


SAMPLES = [
    sample(OK, 0.1, 0.010),
    sample(KEPT, 0.5, 0.020, "image", "rest", late_s=0.1),
    sample(Answer(Outcome.ANSWERED, "200", {"embed": 7.0, "cache": 0.1}, ("rerank: deadline",)), 1.2, 2.0),
    sample(FULL, 1.5, 0.001),
    sample(Answer(Outcome.REJECTED, "429"), 1.6, 0.001, "image", "rest"),
    sample(LATE, 1.7, 10.0, "video"),
    sample(UNSENT, 1.9, 0.0),
]


def test_percentiles_are_values_that_occurred() -> None:
    found = percentiles(float(value) for value in range(1, 2001))
    assert found.pop("p99.9") in (1998, 1999)  # 0.999 is no binary number
    assert found == {"n": 2000, "p50": 1000, "p95": 1900, "p99": 1980, "max": 2000}
    assert percentiles([]) == {"n": 0}
    few = percentiles([3.0, 1.0, 2.0])
    assert (few["p50"], few["p99"], few["p99.9"]) == (2.0, 3.0, 3.0)


def test_what_was_rejected_is_not_failed_and_nothing_is_hidden() -> None:
    found = summarise(SAMPLES, 2.0, bound_ms=1000.0)
    counts = {name: found[name] for name in ("offered", "sent", "unsent", "admitted", "rejected", "failed")}
    assert counts == {"offered": 7, "sent": 6, "unsent": 1, "admitted": 4, "rejected": 2, "failed": 1}
    assert found["offered"] == found["answered"] + found["rejected"] + found["failed"] + found["unsent"]
    assert (found["good"], found["goodput_per_s"], found["degraded"]) == (2, 1.0, 1)
    assert found["degraded_stages"] == {"rerank": 1}
    assert found["codes"] == {
        "grpc": {"OK": 1, "200": 1, "RESOURCE_EXHAUSTED": 1, "DEADLINE_EXCEEDED": 1},
        "rest": {"OK": 1, "429": 1},
    }
    assert found["retry_after_s"] == percentiles([0.5])
    # that stage `cache` was looked into does not say that it had the answer
    assert (found["cached_answers"], found["cached_embeddings"]) == (1, 1)


def test_latency_runs_from_when_a_request_was_due() -> None:
    found = summarise(SAMPLES, 2.0, bound_ms=1000.0)
    assert found["latency_ms"]["image"]["max"] == pytest.approx(120)
    assert found["service_ms"]["image"]["max"] == pytest.approx(20)
    assert found["lag_ms"]["max"] == pytest.approx(100)
    assert found["latency_ms"]["video"]["max"] == pytest.approx(
        10_000
    )  # a deadline that passed is no fast answer
    assert found["latency_ms"]["all"]["n"] == found["admitted"]
    assert found["protocol_ms"]["rest"]["n"] == 1


def test_stages_are_told_by_modality() -> None:
    stages = summarise(SAMPLES, 2.0, bound_ms=1000.0)["stages_ms"]
    assert stages["text"]["embed"]["max"] == 7.0
    assert stages["image"] == {"embed": percentiles([5.0]), "total": percentiles([9.0])}
    assert stages["all"]["cache"]["n"] == 1
    assert "video" not in stages


def test_a_timeline_counts_by_when_requests_were_due() -> None:
    first, second = timeline(SAMPLES, 2.0, 1000.0)
    assert (first["offered"], first["good"], first["rejected"]) == (2, 2, 0)
    assert (second["offered"], second["good"], second["rejected"]) == (5, 0, 2)
    assert (second["failed"], second["unsent"]) == (1, 1)


def test_recovery_ends_with_the_last_bad_second() -> None:
    def seconds(*shares: float) -> list[dict[str, float]]:
        return [{"at_s": 10.0 + at, "offered": 10, "good": 10 * share} for at, share in enumerate(shares)]

    assert recovery_s(seconds(1, 0.9, 1), 10.0) == 0.0
    assert recovery_s(seconds(0, 0.2, 1, 0.5, 1, 1), 10.0) == 4.0
    assert recovery_s(seconds(0, 0, 1), 12.0) == 0.0
    assert recovery_s(seconds(1, 1, 0), 10.0) is None


def report(complete: bool = True) -> dict[str, object]:
    figures = summarise(SAMPLES, 2.0, 1000.0)
    seconds = timeline(SAMPLES, 2.0, 1000.0)
    memory = [{"at_s": at, "mib": {"triton": 900.0 + at}} for at in (0.0, 10.0)]
    return {
        "started": "2026-01-01T00:00:00+00:00",
        "machine": "a <machine>",
        "complete": complete,
        "system": {"items": 40, "version": "0", "embedding_version": "lite-1-0"},
        "settings": {
            "seed": 0, "zipf": 1.0, "mix": {"text": 1.0}, "pools": {"text": 5}, "payloads": {},
            "rest_share": 0.5, "timeout_s": 10.0, "max_outstanding": 64, "bound_ms": 1000.0,
        },
        "scenarios": {
            "steps": {
                "bound_ms": 1000.0, "share": 0.95, "saturation_per_s": 6.0, "saturated": True,
                "peak_goodput_per_s": 7.0, "steps": [{"rate": rate, **figures} for rate in (4.0, 6.0)],
            },
            "spike": {
                "rate": 3.6, "times": 4.0, "spike_s": [0.0, 1.0], "recovery_s": None,
                "phases": {"before": figures, "spike": summarise([], 1.0, 1000.0)}, "timeline": seconds,
            },
            "soak": {
                "rate": 3.6, **figures, "timeline": seconds,
                "memory": {
                    "start_mib": memory[0]["mib"], "end_mib": memory[1]["mib"],
                    "growth_mib": {"triton": 10.0}, "timeline": memory,
                },
            },
            "overload": {
                "rate": 12.0, "times": 2.0, "share_of_peak_goodput": 0.92, "p99_admitted_ms": 1e4, **figures
            },
        },
    }  # fmt: skip


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    written = write_report(report(), tmp_path)
    assert [path.name for path in written] == [
        "loadtest.json",
        "loadtest.md",
        "loadtest.html",
        "loadtest-steps.png",
        "loadtest-spike.png",
        "loadtest-soak.png",
    ]
    assert json.loads(written[0].read_text()) == report()
    text, page = written[1].read_text(), written[2].read_text()
    for said in ("Saturation: 6.0/s", "recovered not within", "triton +10 MiB", "(92% of its peak)"):
        assert said in text
    assert "| soak: video | 1 | 10000.0 |" in text
    assert "| text: embed | 2 | 5.0 |" in text
    assert "a &lt;machine&gt;" in page
    assert page.count("data:image/png;base64,") == 3
    assert "ended before" not in page
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[3:])


def test_a_run_that_ended_early_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    partial = report(complete=False)
    partial["scenarios"] = {"steps": partial["scenarios"]["steps"]}  # type: ignore[index]
    written = write_report(partial, tmp_path)
    assert "ended before" in written[2].read_text()
    assert len(list(findings(partial))) == 1
