"""Two operators, of which one leads: what the other one had begun, and what it still tries, does no harm."""

import asyncio

import pytest

from slipway.api.kinds import NODE, POD, SERVICE, STACK
from slipway.api.stack import Reason
from slipway.settings import Settings
from tests.functional.test_stack_operator import reason, settings
from tests.support.fake_api import FakeApi
from tests.support.objects import a_node, a_stack
from tests.support.operator import Operator

STACKS = 12
LIMIT = 5
PORTS = 9

pytestmark = pytest.mark.usefixtures("clock")


def tight() -> Settings:
    return settings(stack_max_per_user=LIMIT, stack_nodeport_min=30000, stack_nodeport_max=29999 + PORTS)


def verdicts(api: FakeApi) -> dict[str, str | None]:
    return {name: reason(api, name) for name in api.names(STACK)}


def check(api: FakeApi) -> None:
    """Limit and range hold, every Stack is judged, and what runs is whole."""
    running = [name for name in api.names(STACK) if reason(api, name) == Reason.RUNNING]
    assert len(running) <= PORTS
    assert len([n for n in running if n.startswith("stack-1-")]) == LIMIT
    assert all(reason(api, name) for name in api.names(STACK))
    assert len(api.names(POD)) == len(api.names(SERVICE)) == len(running)
    ports = [api.get(SERVICE, name)["spec"]["ports"][0]["nodePort"] for name in api.names(SERVICE)]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("turns", range(0, 60, 3))
@pytest.mark.parametrize("slips", [False, True], ids=["before-the-fence", "after-the-fence"])
async def test_a_leader_is_paused_and_wakes(api: FakeApi, turns: int, slips: bool) -> None:
    """It stops anywhere in a burst; another one takes over and finishes; then it goes on from where it was.

    It looks at its lease before each write; a write that was past that point is refused, or changes nothing.
    """
    old = Operator(api, tight())
    old.cluster.slips = slips
    async with old:
        for problem in range(1, STACKS + 1):
            api.put(STACK, a_stack(1, problem))
            api.put(STACK, a_stack(2, problem))
        for _ in range(turns):
            await asyncio.sleep(0)
        old.cluster.runs.clear()
        async with Operator(api, tight()) as new:
            await new.settled()
            check(api)
            before, writes = verdicts(api), len(api.writes)
            old.cluster.leads = False
            old.cluster.runs.set()
            for _ in range(200):
                await asyncio.sleep(0)
            if not slips:
                assert len(api.writes) == writes
            await new.settled()
            assert verdicts(api) == before
            check(api)


async def test_the_next_leader_finishes_what_is_accepted(api: FakeApi) -> None:
    """Closed in the middle of a burst, an operator ends what it had begun; the rest is the next one's."""
    burst = 12  # as many as the node has room for
    first = Operator(api, settings(workers=2))
    async with first:
        for user in range(1, burst + 1):
            api.put(STACK, a_stack(user, 1))
        for _ in range(10):
            await asyncio.sleep(0)
        first.controller.close()
        async with asyncio.timeout(3):
            await first.ended()
        assert not first.controller._queue._active
    assert len(api.names(POD)) == len(api.names(SERVICE)) < burst, "what was begun is whole"
    async with Operator(api, settings()) as second:
        await second.settled()
        assert len(api.names(POD)) == api.changes(POD, "ADDED") == burst


async def test_every_room_and_limit_is_known_to_the_next_leader(api: FakeApi) -> None:
    api.remove(NODE, "node-1")
    api.put(NODE, a_node(cpu="2", memory="8Gi"))
    async with Operator(api, settings()) as first:
        for problem in range(1, 9):
            api.put(STACK, a_stack(problem, 1))
        await first.settled()
        granted, reserved = len(api.names(POD)), first.ledger._reserved
    async with Operator(api, settings()) as second:
        api.put(STACK, a_stack(99, 1))
        await second.settled()
        assert second.ledger._reserved == reserved
        assert len(api.names(POD)) == granted < 8
