"""Sends what is due when it is due, whatever became of what was sent before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import gevent
from gevent.pool import Group

from loadtests.arrivals import Arrival
from loadtests.samples import Answer, Outcome, Sample

__all__ = ["OpenLoop"]

UNFINISHED = Answer(Outcome.FAILED, "unfinished")
UNSENT = Answer(Outcome.UNSENT, "unsent")


class OpenLoop:
    """A greenlet a request. At most `max_outstanding` wait for an answer at once; what is due beyond that is
    not sent, and is counted as such: the client's memory has a bound too.

    `ask` must return for every arrival, and within `drain_s` seconds or it is given up. `done` is told each
    sample as it ends.
    """

    def __init__(
        self,
        ask: Callable[[Arrival], Answer],
        max_outstanding: int,
        drain_s: float,
        done: Callable[[Sample], None] = lambda _sample: None,
    ) -> None:
        self._ask = ask
        self._max_outstanding = max_outstanding
        self._drain_s = drain_s
        self._done = done

    def play(
        self, arrivals: Sequence[Arrival], watch: Callable[[float], None] | None = None, every_s: float = 10.0
    ) -> list[Sample]:
        """Every arrival's sample, in their order, once the last one has ended. `watch` is called every
        `every_s` seconds meanwhile, with the seconds since the start."""
        began = time.perf_counter()
        samples: list[Sample | None] = [None] * len(arrivals)
        under_way = Group()
        watcher = gevent.spawn(_repeat, watch, began, every_s) if watch else None

        def send(place: int, arrival: Arrival) -> None:
            sent_s = time.perf_counter() - began
            answer = UNFINISHED
            try:
                answer = self._ask(arrival)
            finally:  # also when it was given up
                end(place, Sample(arrival, answer, sent_s, time.perf_counter() - began))

        def end(place: int, sample: Sample) -> None:
            samples[place] = sample
            self._done(sample)

        try:
            for place, arrival in enumerate(arrivals):
                # Always a turn for the others, also when we are late.
                gevent.sleep(max(arrival.due_s - (time.perf_counter() - began), 0.0))
                if len(under_way) >= self._max_outstanding:
                    end(place, Sample(arrival, UNSENT, arrival.due_s, arrival.due_s))
                else:
                    under_way.spawn(send, place, arrival)
            under_way.join(timeout=self._drain_s)
        finally:
            under_way.kill()
            if watcher is not None:
                watcher.kill()
        return [sample for sample in samples if sample is not None]


def _repeat(watch: Callable[[float], None], began: float, every_s: float) -> None:
    while True:
        gevent.sleep(every_s)
        watch(time.perf_counter() - began)
