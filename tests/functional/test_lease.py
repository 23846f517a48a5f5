"""Who leads: one at a time, whatever is late, lost or paused."""

import asyncio
from collections.abc import Callable

import pytest

from slipway import lease as slipway_lease
from slipway.api.kinds import LEASE
from slipway.lease import NAME, Lease
from tests.support import api_answers
from tests.support.fake_api import FakeApi
from tests.support.fake_cluster import FakeCluster
from tests.support.until import until

SECONDS = 10.0


class Ticks:
    """A clock of one machine."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides look again at once; how long a lease lasts is a matter of the clocks."""
    monkeypatch.setattr(slipway_lease, "LOOKS", 10_000)
    monkeypatch.setattr(slipway_lease, "RENEWALS", 10_000)


@pytest.fixture
def candidate(api: FakeApi, ticks: Ticks) -> Callable[..., Lease]:
    return lambda name, clock=ticks: Lease(FakeCluster(api), "slipway-system", name, SECONDS, clock)


def holder(api: FakeApi) -> str:
    found = api.find(LEASE, NAME)
    assert found
    return str(found["spec"]["holderIdentity"])


async def test_the_first_one_leads(api: FakeApi, candidate: Callable[..., Lease]) -> None:
    lease = candidate("a")
    assert not lease.held()
    await lease.acquire()
    assert lease.held()
    assert holder(api) == "a"


async def test_of_many_at_once_one_leads(candidate: Callable[..., Lease]) -> None:
    leases = [candidate(str(n)) for n in range(8)]
    waiting = [asyncio.create_task(lease.acquire()) for lease in leases]
    await until(lambda: any(task.done() for task in waiting))
    for _ in range(50):
        await asyncio.sleep(0)
    assert sum(lease.held() for lease in leases) == 1
    for task in waiting:
        task.cancel()


async def test_it_is_used_for_less_than_it_lasts(candidate: Callable[..., Lease], ticks: Ticks) -> None:
    lease = candidate("a")
    await lease.acquire()
    ticks.now += 0.8 * SECONDS - 0.01
    assert lease.held()
    ticks.now += 0.01
    assert not lease.held()


async def test_it_counts_from_the_request_not_from_the_answer(
    api: FakeApi, candidate: Callable[..., Lease], ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = api.create

    def slow(*given: object) -> object:
        ticks.now += 7
        return create(*given)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(api, "create", slow)
    lease = candidate("a")
    await lease.acquire()
    ticks.now += 0.8 * SECONDS - 7
    assert not lease.held()


async def test_a_standby_takes_over_after_a_whole_duration_by_its_own_clock(
    api: FakeApi, candidate: Callable[..., Lease]
) -> None:
    mine, theirs = Ticks(), Ticks()
    theirs.now = 5_000_000.0
    leader, standby = candidate("a", mine), candidate("b", theirs)
    await leader.acquire()
    waiting = asyncio.create_task(standby.acquire())
    await asyncio.sleep(0.01)
    theirs.now += SECONDS - 0.1
    await asyncio.sleep(0.01)
    assert not waiting.done()
    theirs.now += 0.1
    await waiting
    assert holder(api) == "b"
    found = api.find(LEASE, NAME)
    assert found
    assert found["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_renews_stays(api: FakeApi, candidate: Callable[..., Lease], ticks: Ticks) -> None:
    leader, standby = candidate("a"), candidate("b")
    await leader.acquire()
    keeping = asyncio.create_task(leader.keep())
    waiting = asyncio.create_task(standby.acquire())
    for _ in range(30):
        writes = len(api.writes)
        await until(lambda seen=writes: len(api.writes) > seen + 1)  # type: ignore[misc]
        ticks.now += 1
    assert leader.held()
    assert not waiting.done()
    keeping.cancel()
    waiting.cancel()


async def test_a_leader_that_cannot_renew_ends_before_another_begins(
    api: FakeApi, candidate: Callable[..., Lease], ticks: Ticks
) -> None:
    leader, standby = candidate("a"), candidate("b")
    await leader.acquire()
    keeping = asyncio.create_task(leader.keep())
    waiting = asyncio.create_task(standby.acquire())
    await asyncio.sleep(0.01)
    api.refuse("update", LEASE, api_answers.INTERNAL, times=10**6)
    ticks.now += 0.8 * SECONDS
    await keeping
    assert not leader.held()
    assert not waiting.done()
    waiting.cancel()


async def test_a_paused_leader_that_wakes_finds_out(
    api: FakeApi, candidate: Callable[..., Lease], ticks: Ticks
) -> None:
    leader, standby = candidate("a"), candidate("b")
    await leader.acquire()
    waiting = asyncio.create_task(standby.acquire())
    await asyncio.sleep(0.01)
    ticks.now += SECONDS
    await waiting
    assert not leader.held()
    await leader.keep()  # ends at once
    await leader.release()
    assert holder(api) == "b", "what is another's is not given back"


async def test_one_that_lost_it_takes_it_back_no_sooner_than_anyone(
    api: FakeApi, candidate: Callable[..., Lease], ticks: Ticks
) -> None:
    """It learns of the other leader when it renews, and gives that one a whole duration as well."""
    first, second = candidate("a"), candidate("b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(0.01)
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(0)  # it has looked at its clock, and sleeps until it renews
    ticks.now += SECONDS
    await waiting
    await keeping
    again = asyncio.create_task(first.acquire())
    for _ in range(5):
        looks = api.gets
        await until(lambda seen=looks: api.gets > seen + 3)  # type: ignore[misc]
        assert holder(api) == "b"
        ticks.now += 0.15 * SECONDS
    ticks.now += 0.25 * SECONDS
    await again
    assert holder(api) == "a"


async def test_a_lease_taken_away_is_lost_at_the_next_renewal(api: FakeApi, candidate: Callable[..., Lease]) -> None:
    leader = candidate("a")
    await leader.acquire()
    api.edit(LEASE, NAME, lambda lease: lease["spec"].update(holderIdentity="b"))
    await leader.keep()
    assert not leader.held()


async def test_an_edited_lease_is_still_ours(api: FakeApi, candidate: Callable[..., Lease]) -> None:
    leader = candidate("a")
    await leader.acquire()
    api.edit(LEASE, NAME, lambda lease: lease["metadata"].update(labels={"by": "hand"}))
    keeping = asyncio.create_task(leader.keep())
    writes = len(api.writes)
    await until(lambda: len(api.writes) > writes + 2)
    assert leader.held()
    keeping.cancel()


async def test_released_it_is_free_at_once(api: FakeApi, candidate: Callable[..., Lease]) -> None:
    leader, standby = candidate("a"), candidate("b")
    await leader.acquire()
    await leader.release()
    assert not leader.held()
    await standby.acquire()
    assert holder(api) == "b"


async def test_trouble_with_the_api_server_is_waited_out(api: FakeApi, candidate: Callable[..., Lease]) -> None:
    api.refuse("get", LEASE, api_answers.INTERNAL, times=3)
    lease = candidate("a")
    await lease.acquire()
    assert lease.held()
