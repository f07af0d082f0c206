"""Who is next: order, shares between users and priorities, and whom a full queue gives up."""

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from media import Modality
from orchestrator.fair_queue import QUANTUM, FairQueue, Ticket
from orchestrator.query import Priority

COSTS = {Modality.TEXT: 1.0, Modality.IMAGE: 2.0, Modality.AUDIO: 8.0, Modality.VIDEO: 8.0}
DEAREST = max(COSTS.values())
BATCH = Priority.BATCH

modalities = st.sampled_from(Modality)
users = st.sampled_from(["", "ann", "ben", "eve"])
priorities = st.sampled_from(Priority)


def ticket(
    user: str = "", modality: Modality = Modality.TEXT, priority: Priority = Priority.INTERACTIVE
) -> Ticket:
    return Ticket(modality, COSTS[modality], user, priority)


def queue_of(tickets: Iterable[Ticket], batch_share: float = 0.1) -> FairQueue[Ticket]:
    queue: FairQueue[Ticket] = FairQueue(batch_share)
    for each in tickets:
        queue.push(each)
    return queue


def anything(_: Ticket) -> bool:
    return True


def drained(queue: FairQueue[Ticket]) -> list[Ticket]:
    out = []
    while (following := queue.pop(anything)) is not None:
        out.append(following)
    return out


tickets = st.lists(st.builds(ticket, users, modalities, priorities), max_size=40)


@given(tickets)
def test_everything_comes_out_once_and_a_users_own_in_order(pushed: list[Ticket]) -> None:
    queue = queue_of(pushed)
    for modality in Modality:
        assert queue.length(modality) == sum(each.modality is modality for each in pushed)
    out = drained(queue)
    assert sorted(map(id, out)) == sorted(map(id, pushed))
    assert len(queue) == 0
    for user in {each.user for each in pushed}:
        for priority in Priority:
            own = [each for each in pushed if (each.user, each.priority) == (user, priority)]
            assert [each for each in out if (each.user, each.priority) == (user, priority)] == own


@given(tickets, st.sets(modalities))
def test_only_what_may_run_comes_out_and_all_of_it(pushed: list[Ticket], may: set[Modality]) -> None:
    queue = queue_of(pushed)
    out = []
    while (following := queue.pop(lambda each: each.modality in may)) is not None:
        out.append(following)
    assert Counter(map(id, out)) == Counter(id(each) for each in pushed if each.modality in may)
    assert len(queue) == len(pushed) - len(out)


@given(
    st.dictionaries(st.sampled_from("abcde"), st.lists(modalities, min_size=1, max_size=60), min_size=2),
    st.data(),
)
def test_users_who_all_wait_get_equal_shares(wanted: dict[str, list[Modality]], data: st.DataObject) -> None:
    """Over any stretch in which two users have something waiting, they get the same, within a bound."""
    queue = queue_of(ticket(user, modality) for user, all_of in wanted.items() for modality in all_of)
    left = {user: len(all_of) for user, all_of in wanted.items()}
    skipped = data.draw(st.integers(0, 20))
    got: Counter[str] = Counter()
    while (following := queue.pop(anything)) is not None:
        left[following.user] -= 1
        skipped -= 1
        if skipped >= 0:
            continue
        if not all(left.values()):
            break
        got[following.user] += int(following.cost)
        shares = [got[user] for user in wanted]
        assert max(shares) - min(shares) <= 2 * DEAREST + QUANTUM


@given(st.lists(modalities, min_size=1, max_size=200), modalities)
def test_a_newcomer_waits_for_no_flood(flood: list[Modality], modality: Modality) -> None:
    queue = queue_of(ticket("eve", each) for each in flood)
    mine = ticket("ann", modality)
    queue.push(mine)
    before = 0.0
    while (following := queue.pop(anything)) is not mine:
        assert following is not None
        before += following.cost
    assert before <= mine.cost + DEAREST + QUANTUM


@given(st.integers(1, 50))
def test_new_names_do_not_overtake(newcomers: int) -> None:
    """Whoever waits is served before somebody who came later under a name never seen."""
    queue = queue_of([ticket("ann"), ticket("ann")])
    queue.pop(anything)
    for number in range(newcomers):
        queue.push(ticket(f"new-{number}"))
    ahead = drained(queue)
    assert ahead[0].user == "ann"


@given(tickets.filter(bool), st.data())
def test_leaving_costs_nobody_anything(pushed: list[Ticket], data: st.DataObject) -> None:
    gone = data.draw(st.lists(st.sampled_from(pushed), unique_by=id))
    queue = queue_of(pushed)
    assert all(queue.remove(each) for each in gone)
    assert not any(queue.remove(each) for each in gone)
    stayed = [each for each in pushed if each not in gone]
    assert {id(each) for each in drained(queue)} == {id(each) for each in stayed}


# ---- tenants ----


def of(tenant: str, user: str, modality: Modality = Modality.TEXT) -> Ticket:
    return Ticket(modality, COSTS[modality], user, tenant=tenant)


tenants = st.sampled_from(["", "acme", "birch"])
shared = st.lists(st.builds(of, tenants, users, modalities), max_size=40)


@given(shared)
def test_with_tenants_too_everything_comes_out_once_and_a_users_own_in_order(pushed: list[Ticket]) -> None:
    out = drained(queue_of(pushed))
    assert sorted(map(id, out)) == sorted(map(id, pushed))
    for whose in {(each.tenant, each.user) for each in pushed}:
        own = [each for each in pushed if (each.tenant, each.user) == whose]
        assert [each for each in out if (each.tenant, each.user) == whose] == own


@given(st.integers(1, 60), st.integers(1, 20))
def test_a_tenant_has_no_more_turns_for_naming_more_users(names: int, wanted: int) -> None:
    queue = queue_of(of("acme", f"user-{number}") for number in range(names))
    for _ in range(wanted):
        queue.push(of("birch", "ann"))
    out = drained(queue)
    last = max(place for place, each in enumerate(out) if each.tenant == "birch")
    assert sum(each.tenant == "acme" for each in out[:last]) <= wanted


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
def test_the_users_of_a_tenant_alternate(asking: list[str]) -> None:
    """Until one has nothing left, none is two ahead of another."""
    out = drained(queue_of(of("acme", user) for user in asking))
    left, got = Counter(asking), Counter(dict.fromkeys(asking, 0))
    for each in out:
        if not all(left.values()):
            break
        left[each.user] -= 1
        got[each.user] += 1
        assert max(got.values()) - min(got.values()) <= 1


def test_new_names_of_a_tenant_do_not_overtake() -> None:
    first = of("acme", "ann")
    queue = queue_of([first, of("acme", "ann")])
    queue.pop(anything)
    for number in range(20):
        queue.push(of("acme", f"new-{number}"))
    assert drained(queue)[0].user == "ann"


def test_a_full_queue_gives_up_the_flood_of_one_user_within_a_tenant() -> None:
    flood = [of("acme", "eve") for _ in range(20)]
    queue = queue_of(flood)
    assert queue.displace(of("acme", "ann")) is flood[-1]
    assert queue.displace(of("acme", "eve")) is None
    mine = of("acme", "ann")
    assert list(queue.ahead(mine)) == flood[:1]


def test_a_user_of_nobody_is_no_tenant_of_that_name() -> None:
    queue = queue_of([of("", "acme"), of("acme", "ann"), of("", "acme"), of("acme", "ben")])
    assert [each.tenant for each in drained(queue)] == ["", "acme", "", "acme"]


# ---- priorities ----


def test_interactive_requests_go_first_and_batch_ones_are_not_starved() -> None:
    pushed = [ticket(priority=BATCH) for _ in range(20)] + [ticket() for _ in range(100)]
    out = drained(queue_of(pushed, batch_share=0.1))
    assert out[0].priority is Priority.INTERACTIVE
    while_both = out[: max(place for place, each in enumerate(out) if each.priority is Priority.INTERACTIVE)]
    batch = sum(each.priority is BATCH for each in while_both)
    assert 0.08 <= batch / len(while_both) <= 0.1


@given(st.lists(st.tuples(modalities, priorities), min_size=1, max_size=60), st.floats(0.01, 0.5))
def test_batch_gets_no_more_than_its_share_while_interactive_waits(
    kinds: list[tuple[Modality, Priority]], share: float
) -> None:
    queue = queue_of([ticket("", *kind) for kind in kinds], share)
    spent = dict.fromkeys(Priority, 0.0)
    interactive = sum(priority is Priority.INTERACTIVE for _, priority in kinds)
    while interactive and (following := queue.pop(anything)) is not None:
        spent[following.priority] += following.cost
        interactive -= following.priority is Priority.INTERACTIVE
        assert spent[BATCH] <= spent[Priority.INTERACTIVE] * share / (1 - share) + DEAREST


@given(tickets, users, modalities)
def test_who_is_ahead_waits_and_is_counted_once(pushed: list[Ticket], user: str, modality: Modality) -> None:
    queue = queue_of(pushed)
    mine = ticket(user, modality)
    ahead = list(queue.ahead(mine))
    assert len(set(map(id, ahead))) == len(ahead)
    assert all(each in pushed and each.priority is Priority.INTERACTIVE for each in ahead)
    own = [each for each in pushed if each.user == user and each.priority is Priority.INTERACTIVE]
    assert all(each in ahead for each in own)
    fair = mine.cost + sum(each.cost for each in own)
    for other in {each.user for each in ahead} - {user}:
        assert sum(each.cost for each in ahead if each.user == other) <= fair


@given(tickets, st.builds(ticket, users, modalities, priorities), st.none() | modalities)
def test_a_full_queue_gives_up_only_who_has_more(
    pushed: list[Ticket], newcomer: Ticket, lane: Modality | None
) -> None:
    queue = queue_of(pushed)
    victim = queue.displace(newcomer, lane)
    if victim is None:
        assert len(queue) == len(pushed)
        return
    assert len(queue) == len(pushed) - 1
    assert victim in pushed
    counted = [each for each in pushed if lane in (None, each.modality)]
    assert victim in counted
    same = [each for each in counted if (each.user, each.priority) == (victim.user, victim.priority)]
    assert same[-1] is victim
    if victim.priority is newcomer.priority:
        own = [each for each in counted if (each.user, each.priority) == (newcomer.user, newcomer.priority)]
        assert victim.user != newcomer.user
        assert sum(each.cost for each in same) > sum(each.cost for each in own) + newcomer.cost


def test_each_priority_keeps_its_share_of_a_full_queue() -> None:
    full = [ticket(f"u{number}") for number in range(20)]
    queue = queue_of(full, batch_share=0.1)
    for _ in range(2):
        newcomer = ticket("night", priority=BATCH)
        assert queue.displace(newcomer) in full
        queue.push(newcomer)
    assert queue.displace(ticket("night", priority=BATCH)) in full  # 2 of 20 are not yet more than a tenth
    queue.push(ticket("night", priority=BATCH))
    victim = queue.displace(ticket("late"))
    assert victim is not None
    assert victim.priority is BATCH
