"""Rates: a number in hand that comes back evenly, per name, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.access.control import network_of
from orchestrator.access.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_as_many_as_a_minute_has_and_then_one_by_one() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert [rates.take("a", 6) for _ in range(6)] == [0.0] * 6
    assert rates.take("a", 6) == 10.0
    assert rates.take("b", 6) == 0.0  # others are not touched
    clock.now_s += 10.0
    assert rates.take("a", 6) == 0.0
    assert rates.take("a", 6) > 0.0


def test_waiting_as_long_as_told_suffices() -> None:
    clock = Clock()
    rates = Rates(clock)
    while not (wait_s := rates.take("a", 7)):
        pass
    clock.now_s += wait_s
    assert rates.take("a", 7) == 0.0


@given(st.integers(1, 50), st.lists(st.floats(0, 5), max_size=200))
def test_no_window_lets_in_more_than_two_minutes_worth(per_minute: int, gaps: list[float]) -> None:
    clock = Clock()
    rates, taken = Rates(clock), list[float]()
    for gap in gaps:
        clock.now_s += gap
        if rates.take("a", per_minute) == 0.0:
            taken.append(clock.now_s)
    for first in taken:
        assert sum(first <= each < first + 60.0 for each in taken) <= 2 * per_minute
    spent_s = clock.now_s - 100.0
    assert len(taken) <= per_minute + spent_s * per_minute / 60.0 + 1


def test_memory_is_bounded() -> None:
    rates = Rates(most_names=100)
    for number in range(1000):
        rates.take(str(number), 1)
    assert len(rates) == 100


def test_a_party_is_an_address_or_a_network() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("") == network_of("unix") == "unknown"
