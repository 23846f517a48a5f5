"""Gateway and operator over one API server: what a player sees."""

import asyncio

from slipway.api.kinds import NODE, POD, SERVICE, STACK
from tests.functional.test_stack_operator import settings
from tests.support.fake_api import FakeApi
from tests.support.gateway import Gateway, ask
from tests.support.objects import a_node
from tests.support.operator import Operator
from tests.support.until import until


async def test_from_the_request_to_a_running_pod_and_back(gateway: Gateway, api: FakeApi) -> None:
    async with Operator(api, settings()) as operator:
        status, made = await gateway.call("POST", "/stacks", ask())
        assert status == 201
        assert made["node_port"] == api.the(SERVICE)["spec"]["ports"][0]["nodePort"]
        assert made["pod_id"] == api.the(POD)["metadata"]["name"]
        assert (await gateway.call("DELETE", f"/stacks/{made['stack_id']}"))[0] == 200
        await operator.settled()
        assert api.names(POD) == api.names(SERVICE) == []


async def test_the_user_limit_holds_for_many_at_once(gateway: Gateway, api: FakeApi) -> None:
    async with Operator(api, settings(stack_max_per_user=5)) as operator:
        answers = await asyncio.gather(*(gateway.call("POST", "/stacks", ask(1, p)) for p in range(1, 21)))
        assert sorted(status for status, _ in answers) == [201] * 5 + [503] * 15
        await operator.settled()
        assert len(api.names(STACK)) == len(api.names(POD)) == len(api.names(SERVICE)) == 5


async def test_the_port_range_holds_for_many_at_once(gateway: Gateway, api: FakeApi) -> None:
    async with Operator(api, settings(stack_nodeport_min=30000, stack_nodeport_max=30003)) as operator:
        answers = await asyncio.gather(*(gateway.call("POST", "/stacks", ask(u, 1)) for u in range(1, 11)))
        assert sorted(status for status, _ in answers) == [201] * 4 + [503] * 6
        assert {made["node_port"] for status, made in answers if status == 201} == {30000, 30001, 30002, 30003}
        await operator.settled()
        assert len(api.names(SERVICE)) == 4


async def test_what_does_not_fit_is_undone(gateway: Gateway, api: FakeApi) -> None:
    api.remove(NODE, "node-1")
    api.put(NODE, a_node(cpu="600m"))
    async with Operator(api, settings()) as operator:
        status, answer = await gateway.call("POST", "/stacks", ask())
        assert status == 503
        assert "no room" in answer["error"]
        await operator.settled()
        assert api.names(STACK) == api.names(POD) == api.names(SERVICE) == []
        assert await gateway.call("GET", "/stacks") == (200, {"stacks": []})


async def test_a_restarted_operator_is_not_noticed(gateway: Gateway, api: FakeApi) -> None:
    async with Operator(api, settings()):
        _, made = await gateway.call("POST", "/stacks", ask())
    async with Operator(api, settings()) as operator:
        await operator.settled()
        status, again = await gateway.call("GET", f"/stacks/{made['stack_id']}")
        assert status == 200
        assert (again["node_port"], again["pod_id"]) == (made["node_port"], made["pod_id"])


async def test_an_operator_that_comes_late(gateway: Gateway, api: FakeApi) -> None:
    request = asyncio.create_task(gateway.call("POST", "/stacks", ask()))
    await until(lambda: api.names(STACK))
    async with Operator(api, settings()):
        assert (await request)[0] == 201
