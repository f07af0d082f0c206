"""The scenarios: which phases are played, and what is made of the samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loadtests.arrivals import Phase
from loadtests.errors import SettingsError
from loadtests.figures import summarise, timeline
from loadtests.samples import Sample

__all__ = ["SCENARIOS", "Play", "Scenarios", "Shape", "recovery_s"]

SCENARIOS = ("steps", "spike", "soak", "overload")
MAX_STEPS = 16
MIN_REQUESTS = 10
"""On average in a step: of fewer a share says nothing."""
STEADY = 0.9
"""Share of good answers in a second that counts as recovered: one of ten may be late by chance."""

Figures = dict[str, Any]


class Play(Protocol):
    """Plays phases one after the other and waits for the last answer. `watch`: see OpenLoop."""

    def __call__(
        self, label: str, phases: Sequence[Phase], watch: Callable[[float], None] | None = None
    ) -> list[Sample]: ...


@dataclass(frozen=True, slots=True)
class Shape:
    """Rates a second, durations in seconds. Without `saturation`, `steps` must be played first to find it."""

    bound_ms: float = 1000.0
    share: float = 0.95
    start: float = 4.0
    factor: float = 1.5
    refine: int = 2
    step_s: float = 15.0
    steady: float = 0.6
    """Of saturation: what the spike rises from and the soak goes on at."""
    spike: float = 4.0
    """Times the steady rate."""
    spike_s: float = 5.0
    before_s: float = 10.0
    after_s: float = 25.0
    soak_s: float = 60.0
    overload: float = 2.0
    """Times saturation."""
    overload_s: float = 20.0
    saturation: float | None = None


class Scenarios:
    """Plays them against one system. `memory` gives MiB by process."""

    def __init__(self, play: Play, shape: Shape, memory: Callable[[], dict[str, float]]) -> None:
        self._play = play
        self._shape = shape
        self._memory = memory
        self._saturation = shape.saturation
        self._peak: float | None = None

    def run(self, name: str) -> Figures:
        """One of SCENARIOS.

        Raises:
            SettingsError: it needs the saturation, which is not known.
        """
        return {
            "steps": self.steps,
            "spike": self.spike,
            "soak": self.soak,
            "overload": self.overload,
        }[name]()

    def steps(self) -> Figures:
        """The highest rate at which `share` of what is offered is answered within the bound.

        Up by `factor` until a step fails (down, where the first one does), then `refine` times to the middle
        between the highest that held and the lowest that did not. Each step starts with nothing under way.
        """
        shape = self._shape
        steps: list[Figures] = []

        def holds(rate: float) -> bool:
            phase = Phase(f"{rate:.3g}/s", rate, shape.step_s)
            samples = self._play(f"step {len(steps)}", [phase])
            steps.append({"rate": round(rate, 3), **summarise(samples, phase.duration_s, shape.bound_ms)})
            return bool(samples and steps[-1]["good_share"] >= shape.share)

        held, failed = 0.0, math.inf
        rate = shape.start
        for _ in range(MAX_STEPS):
            if held and math.isfinite(failed):
                break
            if steps and rate * shape.step_s < MIN_REQUESTS:
                break
            if holds(rate):
                held = rate
                rate *= shape.factor
            else:
                failed = rate
                rate /= shape.factor
        for _ in range(shape.refine if held and math.isfinite(failed) else 0):
            rate = math.sqrt(held * failed)
            if holds(rate):
                held = rate
            else:
                failed = rate
        steps.sort(key=lambda step: float(step["rate"]))
        self._saturation = held or None
        self._peak = max(float(step["goodput_per_s"]) for step in steps)
        return {
            "bound_ms": shape.bound_ms,
            "share": shape.share,
            "saturation_per_s": round(held, 3),
            "saturated": math.isfinite(failed),
            "peak_goodput_per_s": self._peak,
            "steps": steps,
        }

    def spike(self) -> Figures:
        """A steady rate, `spike` times as much for some seconds, and the steady rate again."""
        shape = self._shape
        steady = self._known("spike") * shape.steady
        phases = [
            Phase("before", steady, shape.before_s),
            Phase("spike", steady * shape.spike, shape.spike_s),
            Phase("after", steady, shape.after_s),
        ]
        samples = self._play("spike", phases)
        whole_s = sum(phase.duration_s for phase in phases)
        seconds = timeline(samples, whole_s, shape.bound_ms)
        begin_s, end_s = shape.before_s, shape.before_s + shape.spike_s
        return {
            "rate": round(steady, 3),
            "times": shape.spike,
            "spike_s": [begin_s, end_s],
            "recovery_s": recovery_s(seconds, end_s),
            "phases": {
                phase.name: summarise(
                    [each for each in samples if each.arrival.phase == phase.name],
                    phase.duration_s,
                    shape.bound_ms,
                )
                for phase in phases
            },
            "timeline": seconds,
        }

    def soak(self) -> Figures:
        """A steady rate for long, with the memory of each process."""
        shape = self._shape
        phase = Phase("soak", self._known("soak") * shape.steady, shape.soak_s)
        memory: list[Figures] = [{"at_s": 0.0, "mib": self._memory()}]
        samples = self._play(
            "soak",
            [phase],
            watch=lambda at_s: memory.append({"at_s": round(at_s, 1), "mib": self._memory()}),
        )
        memory.append({"at_s": phase.duration_s, "mib": self._memory()})
        first, last = memory[0]["mib"], memory[-1]["mib"]
        return {
            "rate": round(phase.rate, 3),
            **summarise(samples, phase.duration_s, shape.bound_ms),
            "timeline": timeline(samples, phase.duration_s, shape.bound_ms, bin_s=5.0),
            "memory": {
                "start_mib": first,
                "end_mib": last,
                "growth_mib": {name: round(last[name] - first[name], 1) for name in first if name in last},
                "timeline": memory,
            },
        }

    def overload(self) -> Figures:
        """More than can be answered: what the goodput keeps of its peak, and how late what is admitted is."""
        shape = self._shape
        phase = Phase("overload", self._known("overload") * shape.overload, shape.overload_s)
        figures = summarise(self._play("overload", [phase]), phase.duration_s, shape.bound_ms)
        share = round(float(figures["goodput_per_s"]) / self._peak, 4) if self._peak else None
        return {
            "rate": round(phase.rate, 3),
            "times": shape.overload,
            "share_of_peak_goodput": share,
            "p99_admitted_ms": figures["latency_ms"]["all"].get("p99"),
            **figures,
        }

    def _known(self, name: str) -> float:
        if self._saturation is None:
            raise SettingsError(f"{name} needs the saturation: play steps before it, or say --saturation")
        return self._saturation


def recovery_s(seconds: Sequence[Figures], end_s: float) -> float | None:
    """From the end of the spike to the end of the last second in which less than STEADY of what was offered
    was answered well; None where that was the last one that was looked at."""
    after = [second for second in seconds if second["at_s"] >= end_s and second["offered"]]
    bad = [place for place, second in enumerate(after) if second["good"] < STEADY * second["offered"]]
    if not bad:
        return 0.0
    if bad[-1] == len(after) - 1:
        return None
    return round(float(after[bad[-1]]["at_s"]) + 1.0 - end_s, 3)
