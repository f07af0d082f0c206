"""What `make bench` makes of its figures; the figures themselves need the servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load import LoadError, NoAnswerError, check_answers, rate, summarise, summarise_open
from benchmarks.report import Row, share_of_bound, write_report
from benchmarks.rounds import Burst, Target, interleave

ROWS = [
    Row("in process", "text", "int8", 1, 200.0, None, None, None),
    Row("in process", "text", "int8", 32, 1000.0, None, None, None),
    Row("in process", "text", "fp32", 32, 500.0, None, None, None),
    Row("triton", "text", "int8", 1, 150.0, 6.0, 7.0, 8.0),
    Row("triton", "text", "int8", 64, 800.0, 70.0, 80.0, 90.0),
    Row("search on lite", "text", "int8", 1, 20.0, 45.0, 60.0, 70.0),
]


def test_one_at_a_time_is_held_against_batch_1_and_many_against_the_largest() -> None:
    assert share_of_bound(ROWS[3], ROWS) == 0.75
    assert share_of_bound(ROWS[4], ROWS) == 0.8
    assert share_of_bound(ROWS[5], ROWS) is None
    assert share_of_bound(ROWS[4], ROWS[2:]) is None  # the bound of another precision is none


def test_late_answers_and_refusals_are_not_good() -> None:
    rows = [["0", "200", "4000"], ["0", "200", "6000"], ["0", "200", "1500000"], ["0", "429", "100"]]
    found = summarise_open(rows, seconds=2, bound_s=1.0)
    assert (found.sent_per_s, found.answered_per_s, found.p50_ms) == (2.0, 1.0, 6.0)
    with pytest.raises(NoAnswerError):
        summarise_open(rows[3:], seconds=2, bound_s=1.0)


def test_table_and_plot_are_written(tmp_path: Path) -> None:
    result = {
        "machine": "a machine",
        "rounds": 3,
        "mean_batch_at_32": {"text": 7.5},
        "text_search": {"own_ms": 1.25},
        "memory_mib": {"triton": 900.0},
    }
    write_report(result, ROWS, tmp_path)
    table = (tmp_path / "bench.md").read_text()
    assert "Measured on a machine; medians of 3 interleaved rounds." in table
    assert "| triton | text | int8 | 64 | 800.0 | 80% | 70.0 | 80.0 | 90.0 |" in table
    assert "| mean_batch_at_32: text | 7.50 |" in table
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_rounds_are_interleaved_and_give_medians() -> None:
    order: list[str] = []
    values = {"a": iter([1.0, 9.0, 2.0]), "b": iter([5.0, 4.0, 6.0])}

    def target(name: str) -> Target:
        def burst() -> Burst:
            order.append(name)
            return {"per_second": next(values[name])}

        return Target(name, "text", "int8", 1, burst)

    begun: list[tuple[int, str]] = []
    found = list(
        interleave([target("a"), target("b")], 3, lambda number, one: begun.append((number, one.what)))
    )
    assert order == ["a", "b"] * 3
    assert begun[:3] == [(0, "a"), (0, "b"), (1, "a")]
    assert [(one.what, figures["per_second"]) for one, figures in found] == [("a", 2.0), ("b", 5.0)]


def test_the_output_of_h2load() -> None:
    output = (
        "finished in 3.60s, 412.33 req/s, 1.2MB/s\n"
        "traffic: 1.2MB (1200000) total, 9KB (9000) headers, 1MB (1000) data\n"
    )
    assert rate(output) == 412.33
    check_answers(output, [["0", "200", "10"]] * 200)
    with pytest.raises(LoadError, match="without a body"):
        check_answers(output, [["0", "200", "10"]] * 201)
    with pytest.raises(LoadError, match="1 of 2 answers"):
        check_answers(output, [["0", "200", "10"], ["0", "503", "10"]])
    with pytest.raises(LoadError, match="nothing was answered"):
        check_answers(output, [])
    with pytest.raises(LoadError, match="how many"):
        rate("h2load: nothing")
    sample = summarise(16, 412.33, [1000 * value for value in range(1, 102)])
    assert (sample.requests, sample.p50_ms, sample.p95_ms, sample.p99_ms) == (101, 51.0, 96.0, 100.0)
