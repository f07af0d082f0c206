"""The scenarios against a computed system: one server, a fixed time a request, a queue with a bound."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest

from loadtests.arrivals import Phase, Traffic
from loadtests.errors import SettingsError
from loadtests.memory import memory_mib, parse_pids
from loadtests.samples import Answer, Outcome, Sample
from loadtests.scenarios import Scenarios, Shape

CAPACITY = 20.0
"""Requests a second that the computed system can answer."""
TRAFFIC = Traffic({"text": 5, "image": 5, "audio": 5, "video": 5})
SHAPE = Shape(step_s=60.0)


class Queue:
    """Plays by computing when one server, which takes 1 / CAPACITY a request, would be done. What would have
    to wait for longer than `patience_s` is turned away."""

    def __init__(self, patience_s: float = 0.5) -> None:
        self.played: list[tuple[str, Sequence[Phase]]] = []
        self._patience_s = patience_s

    def __call__(
        self, label: str, phases: Sequence[Phase], watch: Callable[[float], None] | None = None
    ) -> list[Sample]:
        self.played.append((label, phases))
        free_s, samples = 0.0, []
        for arrival in TRAFFIC.plan(label, phases):
            begin_s = max(free_s, arrival.due_s)
            if begin_s - arrival.due_s > self._patience_s:
                full = Answer(Outcome.REJECTED, "429")
                samples.append(Sample(arrival, full, arrival.due_s, arrival.due_s))
                continue
            free_s = begin_s + 1 / CAPACITY
            samples.append(Sample(arrival, Answer(Outcome.ANSWERED, "OK"), arrival.due_s, free_s))
        if watch:
            watch(10.0)
        return samples


def test_steps_find_the_capacity() -> None:
    steps = Scenarios(Queue(), SHAPE, dict).steps()
    assert steps["saturated"]
    assert 0.75 * CAPACITY < steps["saturation_per_s"] < 1.1 * CAPACITY
    assert steps["peak_goodput_per_s"] == pytest.approx(CAPACITY, rel=0.1)
    rates = [step["rate"] for step in steps["steps"]]
    assert rates == sorted(rates)
    for step in steps["steps"]:
        assert (step["good_share"] >= 0.95) == (step["rate"] <= steps["saturation_per_s"])


def test_steps_go_down_where_the_first_does_not_hold() -> None:
    steps = Scenarios(Queue(), Shape(start=100.0, step_s=60.0), dict).steps()
    assert 0.7 * CAPACITY < steps["saturation_per_s"] < 1.1 * CAPACITY


def test_steps_end_where_nothing_holds_and_where_everything_does() -> None:
    never = Scenarios(Queue(), Shape(bound_ms=1.0, step_s=60.0), dict).steps()
    assert (never["saturation_per_s"], never["saturated"]) == (0.0, True)
    always = Scenarios(Queue(), Shape(share=0.0, step_s=3.0, factor=1.1), dict).steps()
    assert not always["saturated"]
    assert len(always["steps"]) == 16


def test_overload_is_held_against_the_peak_of_the_steps() -> None:
    scenarios = Scenarios(Queue(), SHAPE, dict)
    peak = scenarios.steps()["peak_goodput_per_s"]
    overload = scenarios.overload()
    assert overload["share_of_peak_goodput"] == pytest.approx(overload["goodput_per_s"] / peak, abs=1e-3)
    assert overload["share_of_peak_goodput"] > 0.9
    assert overload["rejected"] > 0.3 * overload["offered"]
    assert overload["p99_admitted_ms"] <= 600


def test_a_queue_without_a_bound_keeps_nothing_of_its_peak() -> None:
    scenarios = Scenarios(Queue(patience_s=1e9), SHAPE, dict)
    scenarios.steps()
    assert scenarios.overload()["share_of_peak_goodput"] < 0.5


def test_a_spike_is_recovered_from_once_the_queue_is_empty() -> None:
    shape = Shape(saturation=CAPACITY, after_s=60.0)
    patient = Scenarios(Queue(patience_s=1e9), shape, dict).spike()
    # 5 s at 48/s leave (48 - 20) * 5 in the queue, which 20 - 12 a second empty
    assert patient["recovery_s"] == pytest.approx(28 * 5 / 8, abs=6)
    assert Scenarios(Queue(), shape, dict).spike()["recovery_s"] <= 2
    assert list(patient["phases"]) == ["before", "spike", "after"]
    assert sum(second["offered"] for second in patient["timeline"]) == sum(
        phase["offered"] for phase in patient["phases"].values()
    )


def test_a_soak_tells_the_growth_of_each_process() -> None:
    readings = iter([{"a": 100.0, "b": 50.0}, {"a": 101.0, "b": 50.0}, {"a": 103.5}])
    soak = Scenarios(Queue(), Shape(saturation=CAPACITY), lambda: next(readings)).soak()
    assert soak["rate"] == pytest.approx(0.6 * CAPACITY)
    assert soak["memory"]["growth_mib"] == {"a": 3.5}
    assert [row["at_s"] for row in soak["memory"]["timeline"]] == [0.0, 10.0, 60.0]


@pytest.mark.parametrize("name", ["spike", "soak", "overload"])
def test_what_needs_the_saturation_says_so(name: str) -> None:
    with pytest.raises(SettingsError, match="--saturation"):
        Scenarios(Queue(), SHAPE, dict).run(name)


def test_memory_is_read_of_processes_that_run() -> None:
    pids = parse_pids(f"us={os.getpid()}")
    assert memory_mib(pids)["us"] > 5
    assert parse_pids("") == {}
    assert memory_mib({"gone": 2**22 - 1}) == {}
    for wrong in ("us", "us=x", f"us={2**22 - 1}"):
        with pytest.raises(SettingsError):
            parse_pids(wrong)
