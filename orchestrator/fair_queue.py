"""Who is next: requests that wait, by priority, and within one in fair shares between users.

Users of one priority take turns by deficit round robin (Shreedhar and Varghese, "Efficient fair queuing using
deficit round-robin", IEEE/ACM ToN 4(3), 1996), which counts what a request costs and not only how many there
are. A user who has nothing waiting has no state, and a newcomer joins behind everybody who waits, so new
names cannot be made up to overtake. Requests that name no user share one turn.

Whoever calls for a tenant shares the tenant's turn, however many users it names; within that turn the users
alternate, one request each.

Interactive requests go before batch ones. While both wait, each interactive one adds to what batch requests
are owed, so that these get their share of the work and no more.

A queue that is full must not belong to whoever filled it: a newcomer may take the place of the last ticket
of the turn that has most waiting (McKenney, "Stochastic fairness queueing", INFOCOM 1990, calls it buffer
stealing), or of the other priority where that holds more than its share.

Pure: no clock, no tasks. What may not run for now (its modality's places are taken) is passed over and earns
nothing meanwhile.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Generic, TypeAlias, TypeVar

from media import Modality
from orchestrator.query import Priority

__all__ = ["QUANTUM", "FairQueue", "Ticket"]

QUANTUM = 1.0
"""What a turn is worth: the cost of a text. No ticket costs less."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that wants a place. ``cost`` is in texts, at least 1; ``tenant`` is "" for none."""

    modality: Modality
    cost: float
    user: str = ""
    priority: Priority = Priority.INTERACTIVE
    tenant: str = ""

    @property
    def turn(self) -> tuple[str, str]:
        """Whose turn it waits for: its tenant's, else its user's."""
        return (self.tenant, "") if self.tenant else ("", self.user)


T = TypeVar("T", bound=Ticket)


@dataclass(slots=True)
class _Flow(Generic[T]):
    """The tickets of one turn, and what may still be spent in it. One user's keep their order."""

    tickets: deque[T] = field(default_factory=deque)
    deficit: float = QUANTUM

    def place(self, newcomer: T) -> int:
        """Where ``newcomer`` would stand: behind as many of each other user as its own user has waiting."""
        own = sum(ticket.user == newcomer.user for ticket in self.tickets)
        place, seen = len(self.tickets), Counter(ticket.user for ticket in self.tickets)
        for ticket in reversed(self.tickets):
            seen[ticket.user] -= 1
            if seen[ticket.user] <= own:
                break
            place -= 1
        return place


_Ring: TypeAlias = OrderedDict[tuple[str, str], _Flow[T]]


class FairQueue(Generic[T]):
    """``batch_share`` (0..1) of the cost taken while both wait goes to tickets of priority BATCH at least."""

    def __init__(self, batch_share: float) -> None:
        self._rings: dict[Priority, _Ring[T]] = {each: OrderedDict() for each in Priority}
        self._batch_share = batch_share
        self._owed = 0.0
        self._lengths = dict.fromkeys(Modality, 0)

    def __len__(self) -> int:
        return sum(self._lengths.values())

    def length(self, modality: Modality) -> int:
        """Tickets of ``modality``."""
        return self._lengths[modality]

    def push(self, ticket: T) -> None:
        """Puts ``ticket`` behind its user's others."""
        flow = self._rings[ticket.priority].setdefault(ticket.turn, _Flow())
        flow.tickets.insert(flow.place(ticket), ticket)
        self._lengths[ticket.modality] += 1

    def remove(self, ticket: T) -> bool:
        """Takes ``ticket`` out, wherever it stands, at no cost to its user; False if it is not there."""
        flow = self._rings[ticket.priority].get(ticket.turn)
        if flow is None or ticket not in flow.tickets:
            return False
        self._drop(flow, ticket)
        return True

    def pop(self, may_run: Callable[[T], bool]) -> T | None:
        """The next ticket among those that may run, taken out; None if there is none."""
        interactive, batch = self._rings[Priority.INTERACTIVE], self._rings[Priority.BATCH]
        if not batch:
            self._owed = 0.0
        if batch and self._owed >= QUANTUM and (ticket := self._take(batch, may_run)):
            self._owed -= ticket.cost
            return ticket
        if ticket := self._take(interactive, may_run):
            if batch:
                self._owed += ticket.cost * self._batch_share / (1.0 - self._batch_share)
            return ticket
        return self._take(batch, may_run)

    def ahead(self, newcomer: T) -> Iterator[T]:
        """Those waiting that are likely to go first if ``newcomer`` joined now.

        As in a fluid that is shared alike: of every other turn no more than the newcomer's will have had by
        then. Batch requests count for nothing before an interactive one, their share being small.
        """
        ring = self._rings[newcomer.priority]
        mine = ring.get(newcomer.turn)
        own = list(islice(mine.tickets, mine.place(newcomer))) if mine else []
        spent = newcomer.cost + sum(ticket.cost for ticket in own)
        yield from own
        for turn, flow in ring.items():
            left = spent
            for ticket in flow.tickets if turn != newcomer.turn else ():
                left -= ticket.cost
                if left < 0:
                    break
                yield ticket
        if newcomer.priority is Priority.BATCH:
            flows = self._rings[Priority.INTERACTIVE].values()
            yield from chain.from_iterable(flow.tickets for flow in flows)

    def displace(self, newcomer: T, modality: Modality | None = None) -> T | None:
        """Takes out, in favour of ``newcomer``, who has less right to wait; None if nobody has less.

        Only tickets of ``modality`` are looked at, where one is given.
        """

        def counted(flow: _Flow[T] | None) -> list[T]:
            return [each for each in flow.tickets if modality in (None, each.modality)] if flow else []

        waiting = {each: [counted(flow) for flow in ring.values()] for each, ring in self._rings.items()}
        numbers = {each: sum(map(len, flows)) for each, flows in waiting.items()}
        crowd = Priority.INTERACTIVE
        if numbers[Priority.BATCH] > self._batch_share * sum(numbers.values()):
            crowd = Priority.BATCH
        longest = max(waiting[crowd], key=_cost, default=[])
        if crowd is newcomer.priority:
            own = counted(self._rings[crowd].get(newcomer.turn))
            if longest and longest[-1].turn == newcomer.turn:
                # Within a tenant: of the user with more waiting than the newcomer's has.
                counts = Counter(ticket.user for ticket in longest)
                if counts[longest[-1].user] <= counts[newcomer.user] + 1:
                    return None
            elif _cost(longest) <= _cost(own) + newcomer.cost:
                return None
        if not longest:
            return None
        self.remove(longest[-1])
        return longest[-1]

    def _take(self, ring: _Ring[T], may_run: Callable[[T], bool]) -> T | None:
        blocked = 0
        while blocked < len(ring):
            turn, flow = next(iter(ring.items()))
            ticket = next(filter(may_run, flow.tickets), None)
            if ticket is None:
                blocked += 1
                ring.move_to_end(turn)
            elif flow.deficit >= ticket.cost:
                flow.deficit -= ticket.cost
                self._drop(flow, ticket)
                if flow.tickets and flow.tickets[0].cost > flow.deficit:
                    self._end_turn(ring, turn)  # now, not when it comes up again: before whoever comes next
                return ticket
            else:
                blocked = 0
                self._end_turn(ring, turn)
        return None

    def _end_turn(self, ring: _Ring[T], turn: tuple[str, str]) -> None:
        ring[turn].deficit += QUANTUM
        ring.move_to_end(turn)

    def _drop(self, flow: _Flow[T], ticket: T) -> None:
        flow.tickets.remove(ticket)
        self._lengths[ticket.modality] -= 1
        if not flow.tickets:
            del self._rings[ticket.priority][ticket.turn]


def _cost(tickets: Sequence[Ticket]) -> float:
    return sum(ticket.cost for ticket in tickets)
